// The first screen, from the document /admin/status.

import {actionButton} from './dialog.js';
import {draw, facts, Figure, legend, make, say, table} from './elements.js';
import * as format from './format.js';
import {TITLES} from './tiers.js';

const STATES = {
  serving: 'Serving: it answers requests.',
  degraded: 'Degraded: it answers requests, but a part has failed.',
  loading: 'Loading the model: requests are answered 503 until it is loaded.',
  draining: 'Draining: running requests end, new ones are answered 503.',
};
const CHECKS = {ok: 'works', off: 'off', loading: 'loading'};
const PARTS = [['leased', 'in use by requests'], ['cached', 'cached'], ['free', 'free']];
// The remote tier is a server that other daemons use as well.
const HELD = 'held by its server, for all that use it';

const DRAIN = {
  label: 'Drain and stop',
  question: 'Drain and stop this daemon?',
  consequence: 'New requests are answered 503 from now on. Running requests have the time of ' +
      '--drain-seconds to end, then the process stops, as after SIGTERM. Nobody can take this back. A ' +
      'service manager may start it again.',
  path: 'admin/drain',
};

export function stateText(status) {
  return STATES[status.state] ?? `State: ${status.state}.`;
}

function checkItem(name, value) {
  const failed = value.startsWith('failed');
  return make('li', {class: failed ? 'failed' : null}, make('strong', {}, name), ' ', CHECKS[value] ?? value);
}

// What a tier has, by part: bytes, and blocks where the document has them.
function partsOf(tier, isRemote) {
  return PARTS.map(([name, words]) => (
      {name, words: isRemote && name === 'cached' ? HELD : words, bytes: tier[`${name}_bytes`],
       blocks: tier[`${name}_blocks`]}))
      .filter((part) => part.bytes !== undefined);
}

// Bytes that belong to no block yet, such as those of the books of a disk, have no count of blocks.
function amount(part) {
  const counts = part.blocks > 0 || part.bytes === 0;
  const blocks = counts && part.blocks !== undefined ? `, ${format.counted(part.blocks, 'block')}` : '';
  return `${format.bytes(part.bytes)}${blocks}`;
}

// What waits to be written will take what is free now.
function segmentsOf(parts, pending) {
  const room = parts.find((part) => part.name === 'free')?.bytes ?? 0;
  const taken = Math.min(pending.bytes ?? 0, room);
  return parts.flatMap((part) => (
      part.name === 'free' ? [['pending', taken], ['free', room - taken]] : [[part.name, part.bytes]]));
}

class Tier {
  constructor(name) {
    this.isRemote = name === 'remote';
    this.title = TITLES[name] ?? name;
    this.taken = make('span', {class: 'note'});
    this.figure = new Figure(`${this.title} as a table`);
    this.element = make('section', {class: 'tier', 'aria-label': this.title},
                        make('h3', {}, this.title, ' ', this.taken), this.figure.element);
  }

  update(tier) {
    const parts = partsOf(tier, this.isRemote);
    const pending = {name: 'pending', words: 'waits to be written', bytes: tier.spill_pending_bytes,
                     blocks: tier.spill_pending_blocks};
    const named = pending.bytes > 0 ? [...parts, pending] : parts;
    // An operator who sees a full bar for the first time must not take it for an alarm.
    const gives = tier.free_blocks === 0 && tier.cached_blocks > 0
        ? ': new blocks take the place of cached ones' : '';
    say(this.taken, tier.capacity_bytes === undefined ? 'its server has no limit'
        : `${format.percent(1 - tier.free_bytes / Math.max(1, tier.capacity_bytes))} of ` +
          `${format.bytes(tier.capacity_bytes)} taken${gives}`);
    const label = `${this.title}: ${this.taken.textContent}. ` +
        named.map((part) => `${part.words} ${amount(part)}`).join('; ');
    const bar = make('div', {class: 'bar', role: 'img', 'aria-label': label},
                     segmentsOf(parts, pending).map(([part, bytes]) => {
                       const segment = make('span', {class: part});
                       segment.style.flexGrow = bytes;
                       return segment;
                     }));
    const swatches = legend(named.map((part) => [part.name, `${part.words} `, make('b', {}, amount(part))]));
    this.figure.update(
        make('div', {}, bar, swatches),
        table(`${this.title}, ${this.taken.textContent}`,
              [['State', false], ['Bytes', true], ['Blocks', true]],
              [...parts, ...(pending.bytes === undefined ? [] : [pending])].map((part) => (
                  [part.words, format.count(part.bytes), format.count(part.blocks)]))));
  }
}

// A line over the last minutes, from 0 to its largest value. Gaps are what is not known.
function sparkline(values, label) {
  const most = Math.max(...values.filter((value) => value !== null), 0);
  const width = 120, height = 32;
  const x = (i) => (values.length < 2 ? 0 : i * width / (values.length - 1));
  let path = '', open = false;
  values.forEach((value, i) => {
    if (value === null) {
      open = false;
      return;
    }
    const y = height - 1 - (most > 0 ? value / most : 0) * (height - 2);
    path += `${open ? 'L' : 'M'}${x(i).toFixed(1)} ${y.toFixed(1)}h0.1`;
    open = true;
  });
  return draw('svg', {class: 'sparkline', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label,
                      preserveAspectRatio: 'none'}, draw('path', {d: path}));
}

// title, where the number is, its text, where its history is
const RATES = [
  ['Cached share of prompt tokens', (s) => s.rates.cached_share, format.percent, 'cached_share'],
  ['Time to first token, p95', (s) => s.rates.ttft_p95_seconds, format.seconds, 'ttft_p95_seconds'],
  ['Prefill, tokens/s', (s) => s.rates.prefill_tokens_per_second, format.number,
   'prefill_tokens_per_second'],
  ['Decode, tokens/s', (s) => s.rates.decode_tokens_per_second, format.number, 'decode_tokens_per_second'],
];

class Rate {
  constructor([title, value, text, column]) {
    Object.assign(this, {title, value, text, column});
    this.number = make('p', {class: 'big'});
    this.range = make('p', {class: 'note'});
    this.figure = new Figure(`${title} over time`);
    this.element = make('section', {class: 'rate', 'aria-label': title}, make('h3', {}, title), this.number,
                        this.range, this.figure.element);
  }

  update(status) {
    const value = this.value(status), history = status.history[this.column];
    say(this.number, value === null ? 'no traffic' : this.text(value));
    const known = history.filter((each) => each !== null);
    const range = known.length === 0 && value === null ? 'nothing in the last minutes'
        : known.length === 0 ? 'too early for a chart'
        : `every 5 s: ${this.text(Math.min(...known))} to ${this.text(Math.max(...known))}`;
    say(this.range, range);
    this.figure.update(sparkline(history, `${this.title}: ${range}`), table(
        this.title, [['Until', false], [this.title, true]],
        history.map((each, i) => [format.clock(status.history.until[i]), this.text(each)]).reverse()));
  }
}

export class Overview {
  constructor() {
    this.requests = make('p', {class: 'big'});
    this.checks = make('ul', {class: 'checks'});
    this.facts = make('dl');
    this.tierList = make('div');
    this.tiers = new Map();
    this.rates = RATES.map((row) => new Rate(row));
    this.span = make('h2');
    this.element = make(
        'div', {class: 'overview'},
        make('section', {'aria-labelledby': 'state-title'}, make('h2', {id: 'state-title'}, 'State'),
             this.requests, this.checks, this.facts, actionButton(DRAIN)),
        make('section', {'aria-labelledby': 'tiers-title'}, make('h2', {id: 'tiers-title'}, 'Cache, by tier'),
             this.tierList),
        make('section', {class: 'wide'}, this.span,
             make('div', {class: 'rates'}, this.rates.map((rate) => rate.element))));
  }

  update(status) {
    const {running, waiting} = status.requests;
    say(this.requests, `${format.counted(running, 'request')} running, ${format.count(waiting)} waiting`);
    this.checks.replaceChildren(
        ...Object.entries(status.checks).map(([name, value]) => checkItem(name, value)));
    this.facts.replaceChildren(...facts([
      ['Model', status.model],
      ['Backend', `${status.backend}, ${format.counted(status.threads, 'thread')}`],
      ['Version', `${status.version} (${status.revision})`],
      ['Up for', format.span(status.uptime_seconds)],
    ]));
    for (const [name, tier] of Object.entries(status.tiers)) {
      if (!this.tiers.has(name)) {
        this.tiers.set(name, new Tier(name));
        this.tierList.append(this.tiers.get(name).element);
      }
      this.tiers.get(name).update(tier);
    }
    say(this.span, status.rates.seconds >= 1 ? `Last ${format.span(status.rates.seconds)}` : 'Last minutes');
    for (const rate of this.rates) rate.update(status);
  }
}
