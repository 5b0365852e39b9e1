// The page of the admin listener: chooses the view by the fragment of the address, and asks the daemon.

import {ask, follow, keepKey, Refused} from './data.js';
import {make, say} from './elements.js';
import {Misses} from './misses.js';
import {Overview, stateText} from './overview.js';
import {Prefixes} from './prefixes.js';
import {Requests} from './requests.js';

const REFRESH_MILLISECONDS = 2000, RETRY_MILLISECONDS = 5000;

const byId = (id) => document.getElementById(id);
const state = byId('state'), problem = byId('problem'), keyForm = byId('key-form'), main = byId('main');
const pause = (milliseconds) => new Promise((resume) => setTimeout(resume, milliseconds));

// A view with a path shows the document of that path; one without is updated with every status. A fragment is
// #NAME or #NAME/PART: the part is for the view.
const VIEWS = {
  overview: {title: 'Overview', view: new Overview()},
  requests: {title: 'Requests', view: new Requests(), path: 'admin/requests'},
  prefixes: {title: 'Prefixes', view: new Prefixes(), path: 'admin/prefixes'},
  misses: {title: 'Misses', view: new Misses(), path: 'admin/misses'},
};

function current() {
  return VIEWS[location.hash.slice(1).split('/')[0]] ?? VIEWS.overview;
}

function partOfFragment() {
  const fragment = location.hash.slice(1), slash = fragment.indexOf('/');
  return slash < 0 ? '' : decodeURIComponent(fragment.slice(slash + 1));
}

function showProblem(error) {
  const refused = error instanceof Refused;
  say(problem, !error ? '' : refused ? error.message
      : `The daemon does not answer: ${error.message}. What is shown is old.`);
  problem.hidden = !error;
  keyForm.hidden = !refused;
  document.body.classList.toggle('stale', Boolean(error));
}

function showView() {
  const {view} = current();
  byId('views').replaceChildren(...Object.entries(VIEWS).map(([name, each]) => make(
      'a', {href: `#${name}`, 'aria-current': each === current() ? 'page' : null}, each.title)));
  const changed = main.firstElementChild !== view.element;
  if (changed) main.replaceChildren(view.element);
  view.select?.(partOfFragment());
  return changed;
}

function takeStatus(status) {
  say(state, stateText(status));
  document.title = `${status.model}: ${status.state} – prefixd`;
  VIEWS.overview.view.update(status);
  if (main.firstElementChild !== current().view.element) showView();
  showProblem(null);
}

let refreshed = 0;
async function refreshView() {
  const {view, path} = current();
  if (!path || performance.now() < refreshed + REFRESH_MILLISECONDS) return;
  refreshed = performance.now();
  view.update(await ask(path));
}

// Follows the stream while the page can be seen. Without a stream, as when there are too many, it asks.
async function watch() {
  const left = new AbortController();
  const leave = () => document.hidden && left.abort();
  document.addEventListener('visibilitychange', leave);
  try {
    await follow('admin/events', (status) => {
      takeStatus(status);
      refreshView().catch(showProblem);
    }, left.signal);
  } catch (error) {
    if (document.hidden) return;
    if (error instanceof Refused) throw error;
    takeStatus(await ask('admin/status'));
    await refreshView();
  } finally {
    document.removeEventListener('visibilitychange', leave);
  }
}

let resume = () => {};
async function run() {
  for (;;) {
    if (document.hidden || !keyForm.hidden) {
      await new Promise((resolve) => { resume = resolve; });
      continue;
    }
    try {
      await watch();
      await pause(REFRESH_MILLISECONDS);
    } catch (error) {
      showProblem(error);
      if (keyForm.hidden) await pause(RETRY_MILLISECONDS);
    }
  }
}

keyForm.addEventListener('submit', (event) => {
  event.preventDefault();
  keepKey(byId('key').value);
  byId('key').value = '';
  keyForm.hidden = true;
  resume();
});
document.addEventListener('visibilitychange', () => resume());
window.addEventListener('hashchange', () => {
  if (showView()) main.focus();
  refreshed = 0;
  refreshView().catch(showProblem);
});
run();
