// Why prompt tokens were computed, over time and since the start, and what tiers of other sizes would have
// found. From the document /admin/misses.

import {Figure, legend, legendItems, make, scrolls, table} from './elements.js';
import * as format from './format.js';
import {REASONS, wordsFor} from './reasons.js';
import {TITLES} from './tiers.js';

const sum = (numbers) => numbers.reduce((all, each) => all + each, 0);

// One column for each sample, stacked by reason. Hatches tell reasons apart without their colours.
function stacked(history, reasons) {
  const totals = history.until.map((_, i) => sum(reasons.map((reason) => history.miss_tokens[reason][i])));
  const most = Math.max(...totals, 1);
  const columns = history.until.map((until, i) => make('div', {}, reasons.map((reason) => {
    const tokens = history.miss_tokens[reason][i];
    if (tokens === 0) return null;
    const title = `${wordsFor(reason)}, ${format.clock(until)}: ${format.counted(tokens, 'token')}`;
    const part = make('span', {class: `reason-${reason}`, title});
    part.style.height = `${100 * tokens / most}%`;
    return part;
  })));
  const label = sum(totals) === 0 ? 'No prompt token was computed in the last minutes.'
      : `Computed prompt tokens of the last minutes: ${reasons.map((reason) => (
          `${format.count(sum(history.miss_tokens[reason]))} ${wordsFor(reason)}`)).join(', ')}; ` +
        `at most ${format.count(most)} in 5 seconds.`;
  const scale = history.until.length === 0 ? 'There is no sample yet.'
      : `From ${format.clock(history.until[0])} to ${format.clock(history.until.at(-1))}. The highest ` +
        `column is ${format.counted(most, 'token')}.`;
  return make('div', {}, make('p', {class: 'note'}, scale),
              make('div', {class: 'columns', role: 'img', 'aria-label': label}, columns));
}

function whatIfOf(tier, prompt) {
  const share = (scale) => (prompt > 0 ? scale.hit_tokens / prompt : null);
  return make('div', {class: 'bars'}, tier.scales.map((scale) => {
    const bar = make('span', {class: scale.scale === 1 ? 'cached now' : 'cached'});
    bar.style.width = `${100 * (share(scale) ?? 0)}%`;
    const label = scale.scale === 1 ? 'now' : `${format.number(scale.scale)}×`;
    return make('div', {}, make('span', {class: 'label'}, label),
                make('span', {class: 'track', role: 'img',
                              'aria-label': `${format.number(scale.scale)} times its size: ` +
                                  format.percent(share(scale))}, bar),
                make('b', {}, format.percent(share(scale))));
  }));
}

export class Misses {
  constructor() {
    this.chart = new Figure('Misses over time as a table');
    this.legend = legend([]);
    this.reasons = scrolls('Reasons', 'tall advice');
    this.summary = make('p', {class: 'big'});
    this.whatIf = make('div', {class: 'rates'});
    this.element = make(
        'div', {}, make('h2', {}, 'Why prompt tokens were computed'), this.summary,
        make('h3', {}, 'Computed prompt tokens of the last minutes, every 5 seconds, by reason'),
        this.legend, this.chart.element,
        make('h2', {}, 'Since the start'), this.reasons,
        make('h2', {}, 'What tiers of other sizes would have found'),
        make('p', {class: 'note'}, 'The share of all prompt tokens since the start, of each tier taken by ' +
             'itself and in whole blocks. A tier whose bars are equal needs no other size.'), this.whatIf);
  }

  update(document_) {
    const {miss_tokens: misses, history} = document_;
    const prompt = sum(Object.values(document_.sources)), computed = document_.sources.computed;
    this.summary.textContent = prompt === 0 ? 'No prompt was computed yet.'
        : `${format.percent(computed / prompt)} of ${format.count(prompt)} prompt tokens were computed.`;
    const recent = Object.keys(misses).filter((reason) => sum(history.miss_tokens[reason]) > 0);
    this.legend.replaceChildren(
        ...legendItems(recent.map((reason) => [`reason-${reason}`, wordsFor(reason)])));
    this.chart.update(stacked(history, recent), table(
        'Computed prompt tokens', [['Until', false], ...recent.map((reason) => [wordsFor(reason), true])],
        history.until.map((until, i) => [format.clock(until), ...recent.map((reason) => (
            format.count(history.miss_tokens[reason][i])))]).reverse()));
    const known = Object.entries(misses).filter(([, tokens]) => tokens > 0).sort((a, b) => b[1] - a[1]);
    this.reasons.replaceChildren(table(
        'Computed prompt tokens by reason', [['Reason', false], ['Tokens', true], ['Of the prompts', true],
                                             ['What to do', false]],
        known.map(([reason, tokens]) => [
          wordsFor(reason), format.count(tokens), format.percent(tokens / prompt),
          (REASONS[reason] ?? [])[1] ?? ''])));
    this.whatIf.replaceChildren(...Object.entries(document_.what_if).map(([name, tier]) => make(
        'section', {class: 'rate', 'aria-label': TITLES[name] ?? name},
        make('h3', {}, TITLES[name] ?? name,
             make('span', {class: 'note'}, ` now ${format.bytes(tier.capacity_bytes)}`)),
        whatIfOf(tier, prompt))));
  }
}
