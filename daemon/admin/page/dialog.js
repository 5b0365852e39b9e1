// A button that acts on the daemon: it asks first, and says what was done.

import {act} from './data.js';
import {make, say} from './elements.js';

let dialogs = 0;

// `question` and `consequence` are texts, `body` is what the action gets; or functions that return them when
// the dialog opens. What was done stays below the button, or in `said`, which outlives the button's place.
export function actionButton({label, question, consequence, path, body = {}, said}) {
  const now = (value) => (typeof value === 'function' ? value() : value);
  let sent = {};
  const result = said ?? make('p', {role: 'status', class: 'note'});
  const title = make('h2', {id: `dialog-${++dialogs}`}), text = make('p');
  const yes = make('button', {class: 'danger'}, label), no = make('button', {}, 'Cancel');
  const dialog = make('dialog', {'aria-labelledby': title.id}, title, text,
                      make('p', {class: 'buttons'}, no, ' ', yes));
  const ask = () => {
    say(title, now(question));
    say(text, now(consequence));
    sent = now(body);
    dialog.showModal();
    no.focus();
  };
  no.addEventListener('click', () => dialog.close());
  yes.addEventListener('click', async () => {
    dialog.close();
    say(result, 'It is being done.');
    try {
      say(result, await act(path, sent));
    } catch (error) {
      say(result, `It failed: ${error.message}`);
    }
  });
  const open = make('button', {onclick: ask}, `${label} …`);
  return make('div', {class: 'action'}, open, said ? null : result, dialog);
}
