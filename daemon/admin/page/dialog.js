// A button that acts on the daemon: it asks first, and says what was done.

import {act} from './data.js';
import {make, say} from './elements.js';

let dialogs = 0;

// `question` and `consequence` are texts; `body` is what the action gets.
export function actionButton({label, question, consequence, path, body}) {
  const result = make('p', {role: 'status', class: 'note'});
  const title = make('h2', {id: `dialog-${++dialogs}`}, question);
  const yes = make('button', {class: 'danger'}, label), no = make('button', {autofocus: true}, 'Cancel');
  const dialog = make('dialog', {'aria-labelledby': title.id}, title, make('p', {}, consequence),
                      make('p', {class: 'buttons'}, no, ' ', yes));
  no.addEventListener('click', () => dialog.close());
  yes.addEventListener('click', async () => {
    dialog.close();
    try {
      say(result, await act(path, body));
    } catch (error) {
      say(result, `Nothing was done: ${error.message}`);
    }
  });
  const open = make('button', {onclick: () => dialog.showModal()}, `${label} …`);
  return make('div', {class: 'action'}, open, result, dialog);
}
