// The requests that ended last, as a waterfall; one of them explained. From the document /admin/requests.

import {facts, Figure, legend, make, scrolls, table} from './elements.js';
import * as format from './format.js';
import {wordsFor} from './reasons.js';

// The parts of a request in the order of time: name, title, its seconds.
const PARTS = [
  ['queue', 'waits to run', (r) => r.queue_seconds ?? r.seconds],
  ['load-host', 'waits for host memory', (r) => r.load_waits.host ?? 0],
  ['load-disk', 'waits for the disk', (r) => r.load_waits.disk ?? 0],
  ['load-remote', 'waits for the remote cache', (r) => r.load_waits.remote ?? 0],
  ['compute', 'computes the prompt', (r) => Math.max(
      0, (r.ttft_seconds ?? r.seconds) - (r.queue_seconds ?? r.seconds) - r.load_wait_seconds)],
  ['answer', 'first token to end', (r) => (r.ttft_seconds === null ? 0 : r.seconds - r.ttft_seconds)],
];
const SOURCES = {computed: 'computed', device: 'from the device', host: 'from host memory',
                 disk: 'from the disk', remote: 'from the remote cache', shared: 'from a request beside it'};

const nameOf = (request) => request.id || `sequence ${request.sequence}`;
const linkTo = (request) => `#requests/${encodeURIComponent(request.id)}`;
const cachedOf = (request) => request.prompt_tokens - (request.sources.computed ?? 0);

function waterfall(request, longest) {
  const label = PARTS.map(([, title, seconds]) => `${title} ${format.seconds(seconds(request))}`).join(', ');
  const bar = make('div', {class: 'waterfall', role: 'img', 'aria-label': label, title: label});
  for (const [name, , seconds] of PARTS) {
    const part = make('span', {class: `part-${name}`});
    part.style.width = `${100 * seconds(request) / longest}%`;
    // A load is short beside the rest, and is to be seen all the same.
    if (name.startsWith('load') && seconds(request) > 0) part.style.minWidth = '3px';
    bar.append(part);
  }
  return bar;
}

function capital(title) {
  return title[0].toUpperCase() + title.slice(1);
}

function reasonOf(request) {
  return request.first_miss ? wordsFor(request.first_miss.reason) : '–';
}

function listOf(names, counts) {
  const parts = Object.entries(counts).map(([name, count]) => `${format.count(count)} ${names(name)}`);
  return parts.join(', ') || '–';
}

function detailOf(request, now) {
  const rows = [
    ['Ended', `${format.ago(request.finished, now)} (${request.finish})`],
    ['Tenant', request.tenant],
    ['Prompt', `${format.counted(request.prompt_tokens, 'token')}: ` +
               listOf((name) => SOURCES[name] ?? name, request.sources)],
    ['Computed because', listOf(wordsFor, request.miss_tokens)],
    ['Loads decided', listOf((name) => name, request.load_decisions)],
    ['Answer', format.counted(request.generated_tokens, 'token')],
    ...PARTS.map(([, title, seconds]) => [capital(title), format.seconds(seconds(request))]),
  ];
  return [make('p', {class: 'explanation'}, request.explanation),
          make('dl', {}, facts(rows))];
}

const COLUMNS = [['Request', false], ['Queue → load → compute → answer', false], ['Ended', true],
                 ['First token', true], ['Whole', true], ['Cached / prompt tokens', true],
                 ['Computed because', false]];

export class Requests {
  constructor() {
    this.selected = '';
    this.found = [];
    this.detail = make('section', {class: 'detail', 'aria-live': 'polite', 'aria-label': 'One request'});
    this.count = make('p', {class: 'note'});
    this.list = scrolls('Requests', 'tall');
    this.times = new Figure('Times as a table');
    const parts = legend(PARTS.map(([name, title]) => [`part-${name}`, title]));
    this.element = make('div', {}, make('h2', {}, 'Requests that ended last'), this.count, parts,
                        this.detail, this.list, this.times.element);
  }

  // Shows the request with this id; none when it is empty.
  select(id) {
    this.selected = id;
    this.show();
  }

  update(document_) {
    const newest = document_.requests[0]?.sequence;
    this.found = document_.requests;
    this.now = document_.at;
    // Rows under a pointer or with the focus stay until there is something new.
    if (newest !== this.newest || this.newest === undefined) this.showList();
    this.newest = newest;
    this.show();
  }

  showList() {
    const focused = document.activeElement?.getAttribute('href');
    const longest = Math.max(...this.found.map((request) => request.seconds), 1e-9);
    this.count.textContent = this.found.length === 0 ? 'No request has ended yet.'
        : `The newest ${format.counted(this.found.length, 'request')}. Bars have one scale: the longest ` +
          `took ${format.seconds(longest)}. A request with several choices has a row for each.`;
    this.list.replaceChildren(table('Requests, the newest first', COLUMNS, this.found.map((request) => [
      make('a', {href: linkTo(request)}, nameOf(request)),
      waterfall(request, longest), format.clock(request.finished), format.seconds(request.ttft_seconds),
      format.seconds(request.seconds),
      `${format.count(cachedOf(request))} / ${format.count(request.prompt_tokens)}`, reasonOf(request),
    ])));
    this.times.update('', table(
        'Times of the same requests',
        [['Request', false], ...PARTS.map(([, title]) => [capital(title), true]), ['Whole', true]],
        this.found.map((request) => [
          nameOf(request), ...PARTS.map(([, , seconds]) => format.seconds(seconds(request))),
          format.seconds(request.seconds)])));
    if (focused) this.list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  }

  show() {
    const chosen = this.found.filter((request) => request.id === this.selected);
    const key = `${this.selected} ${chosen.length}`;
    if (key === this.shown) return;
    this.shown = key;
    const parts = chosen.flatMap((request) => detailOf(request, this.now));
    if (this.selected && chosen.length === 0) {
      parts.push(make('p', {}, 'It is not among the requests that ended last, or has not ended yet.'));
    }
    this.detail.replaceChildren(...(this.selected ? [
      make('h3', {}, `Request ${this.selected}`), ...parts, make('a', {href: '#requests'}, 'Close')] : []));
  }
}
