// Asks the daemon. Paths are relative, so that a proxy may serve the page below a path of its own.

const KEY_NAME = 'prefixd-admin-key';  // in the storage of this tab, which ends with it

// The key is missing or wrong, or lacks the right.
export class Refused extends Error {}

export function keepKey(key) {
  sessionStorage.setItem(KEY_NAME, key);
}

async function send(path, options = {}) {
  const key = sessionStorage.getItem(KEY_NAME);
  const headers = {...options.headers, ...(key ? {Authorization: `Bearer ${key}`} : {})};
  const answer = await fetch(path, {...options, headers, cache: 'no-store'});
  if (answer.ok) return answer;
  const text = await answer.text();
  let message = `${path} answered ${answer.status}`;
  try {
    message = JSON.parse(text).error.message;
  } catch {
    // It is not an answer of the daemon: a proxy's, for example.
  }
  throw answer.status === 401 || answer.status === 403 ? new Refused(message) : new Error(message);
}

export async function ask(path) {
  return (await send(path)).json();
}

// Carries out an action. Returns what the daemon says that it did.
export async function act(path, body = {}) {
  const headers = {'Content-Type': 'application/json', 'X-Prefixd-Action': '1'};
  return (await (await send(path, {method: 'POST', headers, body: JSON.stringify(body)})).json()).done;
}

// Calls `take` for the document of each event, until the stream ends or `signal` aborts it. It is a stream of
// fetch, because an EventSource cannot send a key.
export async function follow(path, take, signal) {
  const reader = (await send(path, {signal})).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    text += value;
    const events = text.split('\n\n');
    text = events.pop();
    // When several have come at once, the last one is the state of now.
    const last = events.findLast((event) => event.startsWith('data: '));
    if (last) take(JSON.parse(last.slice('data: '.length)));
  }
}
