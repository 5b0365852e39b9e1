// The page of the admin listener: chooses the view by the fragment of the address, and asks the daemon.

import {make, say} from './elements.js';
import {Overview, stateText} from './overview.js';

const POLL_MILLISECONDS = 2000;
const KEY_NAME = 'prefixd-admin-key';  // in the storage of this tab

const byId = (id) => document.getElementById(id);
const state = byId('state'), problem = byId('problem'), keyForm = byId('key-form'), main = byId('main');

class Refused extends Error {}

async function ask(path) {
  const key = sessionStorage.getItem(KEY_NAME);
  const answer = await fetch(path, {headers: key ? {Authorization: `Bearer ${key}`} : {}, cache: 'no-store'});
  const text = await answer.text();
  if (answer.status === 401 || answer.status === 403) throw new Refused(JSON.parse(text).error.message);
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return JSON.parse(text);
}

const VIEWS = {
  overview: {title: 'Overview', view: new Overview(), path: 'admin/status'},
};

function current() {
  return VIEWS[location.hash.slice(1).split('/')[0]] ?? VIEWS.overview;
}

function showProblem(text) {
  say(problem, text ?? '');
  problem.hidden = !text;
  document.body.classList.toggle('stale', Boolean(text));
}

let shown = null;
async function refresh() {
  const wanted = current();
  try {
    const document_ = await ask(wanted.path);
    if (wanted !== current()) return;
    if (wanted === VIEWS.overview) {
      say(state, stateText(document_));
      document.title = `${document_.model}: ${document_.state} – prefixd`;
    }
    wanted.view.update(document_);
    if (shown !== wanted) main.replaceChildren(wanted.view.element);
    shown = wanted;
    keyForm.hidden = true;
    showProblem(null);
  } catch (error) {
    const refused = error instanceof Refused;
    keyForm.hidden = !refused;
    showProblem(refused ? error.message
        : `The daemon does not answer: ${error.message}. What is shown is old.`);
  }
}

function showNavigation() {
  byId('views').replaceChildren(...Object.entries(VIEWS).map(([name, each]) => make(
      'a', {href: `#${name}`, 'aria-current': each === current() ? 'page' : null}, each.title)));
}

keyForm.addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY_NAME, byId('key').value);
  byId('key').value = '';
  refresh();
});
window.addEventListener('hashchange', () => {
  showNavigation();
  refresh();
});

async function run() {
  showNavigation();
  for (;;) {
    if (!document.hidden && keyForm.hidden) await refresh();
    await new Promise((resume) => setTimeout(resume, POLL_MILLISECONDS));
  }
}
run();
