// The cached prefixes that saved most: an icicle of the tree that they form, one of them, and a table. From
// the document /admin/prefixes. A prefix is named by the hash of its last block: no text is here.

import {actionButton} from './dialog.js';
import {facts, legend, legendItems, make, say, scrolls, table} from './elements.js';
import * as format from './format.js';
import {PLACES, SHORT, TITLES} from './tiers.js';

const TIERS = Object.keys(TITLES);
const LEVEL_REM = 2.2;
const sum = (numbers) => numbers.reduce((all, each) => all + each, 0);
const shortKey = (key) => key.slice(0, 10);
const linkTo = (row) => (row ? `#prefixes/${row.key}` : '#prefixes');

// The rows as a tree: each gets its children, its weight, which is its own tokens and those of the rows below
// it, and its blocks from the beginning of the prompt on. Rows of other tenants are left out.
function treeOf(rows, tenant) {
  const nodes = rows.map((row) => ({...row, children: [], above: null}));
  for (const node of nodes) {
    node.above = node.parent === null ? null : nodes[node.parent];
    if (node.above) node.above.children.push(node);
  }
  const weigh = (node) => {
    node.weight = node.own_tokens + sum(node.children.map(weigh));
    node.children.sort((a, b) => b.weight - a.weight);
    return node.weight;
  };
  const blocks = (node, tier) => node.own_blocks[tier] + (node.above ? blocks(node.above, tier) : 0);
  const top = nodes.filter((node) => node.above === null && (!tenant || node.tenant === tenant));
  top.forEach(weigh);
  top.sort((a, b) => b.weight - a.weight);
  for (const node of nodes) node.blocks = Object.fromEntries(TIERS.map((tier) => [tier, blocks(node, tier)]));
  return {top, all: nodes.filter((node) => !tenant || node.tenant === tenant)};
}

function lowestTier(node) {
  return node.tiers.at(-1) ?? 'none';
}

function describe(node) {
  return [format.counted(node.tokens, 'token'), format.counted(node.hits, 'hit'),
          ...(node.branches ? ['several prompts go on after it'] : []),
          ...(node.pinned ? ['pinned'] : []),
          PLACES[lowestTier(node)] ?? 'in no tier any more', `tenant ${shortKey(node.tenant)}`].join(', ');
}

// What is not shown takes at most so much of the width of what it continues: what is shown can be seen.
const MOST_REST = 0.2;

function describeRest(blocks, node) {
  return `Not shown: ${format.counted(blocks, 'block')} ` +
      (node ? 'that continue this prefix' : 'of prompts that continue no prefix shown here');
}

// The place of each node: left edge and width as shares of the whole, and its level. The chosen node has the
// whole width, and so have those above it. A place without a node is what is not shown there.
function layout(tree, chosen, restOf, blockTokens) {
  const placed = [];
  const above = [];
  for (let node = chosen?.above; node; node = node.above) above.unshift(node);
  above.forEach((node, level) => placed.push({node, left: 0, width: 1, level}));
  const place = (nodes, parent, left, width, level) => {
    const all = Math.max(sum(nodes.map((node) => node.weight)), 1e-9);
    const hidden = restOf(parent);
    const rest = hidden === 0 ? 0 : width * (nodes.length === 0 ? 1
        : Math.min(MOST_REST, hidden * blockTokens / (all + hidden * blockTokens)));
    const end = left + width;
    for (const node of nodes) {
      const share = (width - rest) * node.weight / all;
      placed.push({node, left, width: share, level});
      // The part of a node below which nothing is shown is its own tokens, up to its end.
      const below = sum(node.children.map((child) => child.weight)) + restOf(node) * blockTokens;
      const whole = node.weight + restOf(node) * blockTokens;
      place(node.children, node, left, share * below / Math.max(whole, 1e-9), level + 1);
      left += share;
    }
    if (rest > 0) placed.push({node: null, parent, hidden, left: end - rest, width: rest, level});
  };
  if (chosen) {
    placed.push({node: chosen, left: 0, width: 1, level: above.length});
    place(chosen.children, chosen, 0, 1, above.length + 1);
  } else {
    place(tree.top, null, 0, 1, 0);
  }
  return placed;
}

const AFTER_PURGE = 'Nobody can take this back. Prompts that had them are computed again. Blocks in use by ' +
    'running requests go when these end.';

function columns(tiers) {
  return [['Prefix', false], ['Tokens', true], ['Hits', true], ['Tokens saved', true],
          ...tiers.map((tier, i) => [`${i === 0 ? 'Blocks: ' : ''}${SHORT[tier]}`, true]), ['Last use', true],
          ['Tenant', false]];
}

export class Prefixes {
  constructor() {
    this.chosen = '';
    this.summary = make('p', {class: 'note'});
    this.rest = make('p', {class: 'rest'});
    this.tenants = make('select', {id: 'tenant', onchange: () => this.show()});
    this.icicle = make('div', {class: 'icicle', role: 'group', onkeydown: (event) => this.move(event)});
    this.detail = make('section', {class: 'detail', 'aria-live': 'polite', 'aria-label': 'One prefix'});
    this.list = scrolls('Prefixes', 'tall');
    this.said = make('p', {role: 'status', class: 'note'});
    this.ofPrefix = this.prefixActions();
    this.ofTenant = make('div', {hidden: true}, actionButton({
      label: 'Purge this tenant',
      question: () => `Purge all that tenant ${shortKey(this.tenants.value)} has cached?`,
      consequence: () => `Its blocks leave the device, host memory and the disk, also those that are not ` +
          `shown here. ${AFTER_PURGE}`,
      path: 'admin/purge', body: () => ({tenant: this.tenants.value}), said: this.said,
    }));
    this.ofModel = actionButton({
      label: 'Purge the whole cache',
      question: () => `Purge all that is cached for ${this.model}?`,
      consequence: () => `All tenants lose all blocks in all tiers. ${AFTER_PURGE}`,
      path: 'admin/purge', body: () => ({model: this.model}), said: this.said,
    });
    this.legend = legend([]);
    this.element = make(
        'div', {}, make('h2', {}, 'Cached prefixes that saved most'), this.summary,
        make('p', {}, make('label', {for: 'tenant'}, 'Tenant '), this.tenants),
        this.legend,
        this.icicle, this.rest, this.detail, this.ofPrefix,
        make('div', {class: 'actions'}, this.ofTenant, this.ofModel), this.said, this.list);
  }

  // Those of the chosen prefix. They stay when the data changes: one may be asking, or say what it did.
  prefixActions() {
    const chosen = () => this.document.rows.find((row) => row.key === this.chosen);
    const body = () => ({prefix: this.chosen});
    const named = () => `the prefix of ${format.counted(chosen()?.tokens ?? 0, 'token')}`;
    return make('div', {class: 'actions', hidden: true}, actionButton({
      label: 'Purge this prefix',
      question: () => `Purge ${named()} and all that continues it?`,
      consequence: () => `${format.counted(chosen()?.own_tokens ?? 0, 'token')} of its own, and those of ` +
          `the prefixes below it, leave all tiers. What it shares with other prefixes stays. ${AFTER_PURGE}`,
      path: 'admin/purge', body, said: this.said,
    }), actionButton({
      label: 'Pin',
      question: () => `Pin ${named()} in memory?`,
      consequence: 'Its blocks on the device and in host memory are evicted last, only when running ' +
          'requests need their room, until it is unpinned or the daemon ends. At most half of the ' +
          '--retained-share of each tier can be pinned; the answer says what that left out.',
      path: 'admin/pin', body, said: this.said,
    }), actionButton({
      label: 'Unpin',
      question: () => `Unpin ${named()}?`,
      consequence: 'Its blocks are evicted in the usual order again. What requests asked to keep of them ' +
          'ends as well.',
      path: 'admin/unpin', body, said: this.said,
    }));
  }

  select(key) {
    this.chosen = key;
    if (this.document) this.show();
  }

  update(document_) {
    const key = JSON.stringify([document_.at, document_.rows.length]);
    if (key === this.key) return;
    this.key = key;
    this.document = document_;
    const known = [...new Set(document_.rows.map((row) => row.tenant))].sort();
    const selected = this.tenants.value;
    this.tenants.replaceChildren(make('option', {value: ''}, 'all'), ...known.map((tenant) => make(
        'option', {value: tenant, selected: tenant === selected}, tenant)));
    this.show();
  }

  show() {
    const {rows, held_back: rest, at, model} = this.document;
    this.model = model;
    this.ofTenant.hidden = this.tenants.value === '';
    const tree = treeOf(rows, this.tenants.value);
    const chosen = tree.all.find((node) => node.key === this.chosen) ?? null;
    say(this.summary, at === null ? 'Nobody has looked through the tree yet.'
        : `The ${format.count(rows.length)} that saved most tokens, as of ${format.clock(at)}. Each box is ` +
          'a prefix: its width is its tokens, and the boxes below it continue it. Arrow keys move, Enter ' +
          'enlarges.');
    const others = rest.prefixes === 0 ? ''
        : rest.prefixes === 1 ? 'another prefix that was hit, and '
        : `${format.count(rest.prefixes)} other prefixes that were hit, and `;
    say(this.rest, rest.prefixes + rest.nodes === 0 ? 'Nothing is held back.'
        : `Not shown: ${others}${format.counted(rest.nodes, 'block')} that belong to no prefix shown here, ` +
          'such as the ends of prompts that came once.');
    this.tiers = TIERS.filter((tier) => (
        tier !== 'remote' || rows.some((row) => row.tiers.includes(tier) || row.own_blocks[tier] > 0)));
    this.showLegend();
    this.showIcicle(tree, chosen);
    this.showDetail(chosen);
    const now = at;
    const restRows = [null, ...tree.all].filter((node) => this.restOf(node) > 0).map((node) => [
      node ? make('a', {href: linkTo(node)}, `rest of ${shortKey(node.key)}`) : 'rest',
      '', '', '', make('span', {}, `${format.counted(this.restOf(node), 'block')} not shown`),
      ...this.tiers.slice(1).map(() => ''), '',
      node ? shortKey(node.tenant) : shortKey(this.tenants.value || 'all')]);
    const cells = tree.all.map((node) => [
      make('a', {href: linkTo(node)}, shortKey(node.key)), format.count(node.tokens),
      format.count(node.hits), format.count(node.tokens * node.hits),
      ...this.tiers.map((tier) => format.count(node.blocks[tier])), format.ago(node.last_use, now),
      shortKey(node.tenant)]);
    this.list.replaceChildren(
        table('Prefixes, those that saved most first; then what is not shown',
              columns(this.tiers),
              [...cells, ...restRows]));
  }

  // How many blocks are not shown that continue this prefix, or none of them (null), of the chosen tenant.
  restOf(node) {
    if (node) return node.rest_blocks;
    const {tenants, other_tenants: others} = this.document.held_back;
    return this.tenants.value ? tenants[this.tenants.value] ?? 0 : others + sum(Object.values(tenants));
  }

  showLegend() {
    this.legend.replaceChildren(...legendItems([
      ['heat-2', 'on the device alone'],
      ...this.tiers.slice(1).map((tier) => [`heat-2 tier-${tier}`, `also ${PLACES[tier]}`]),
      ['heat-1', 'few hits'], ['heat-4', 'many hits'],
      ['not-shown', 'not shown, at most a fifth of the width']]));
  }

  showIcicle(tree, chosen) {
    const focused = document.activeElement?.getAttribute('data-key');
    this.placed = layout(tree, chosen, (node) => this.restOf(node), this.document.block_tokens);
    const shown = this.placed.filter((each) => each.node);
    const most = Math.max(...tree.all.map((node) => node.hits), 1);
    const pixels = this.icicle.clientWidth || 1200;
    const fitting = (texts, width) => texts.find((text) => 8 * text.length + 8 <= pixels * width) ?? '';
    const levels = 1 + Math.max(...this.placed.map((each) => each.level), 0);
    this.icicle.setAttribute('aria-label', `Tree of ${shown.length} prefixes, ${levels} levels deep; ` +
                             'the table below has the same.');
    this.icicle.style.height = `${levels * LEVEL_REM}rem`;
    this.icicle.replaceChildren(...this.placed.map(({node, parent, hidden, left, width, level}) => {
      const at = (element) => Object.assign(element.style, {
        left: `${100 * left}%`, width: `${100 * width}%`, top: `${level * LEVEL_REM}rem`}) && element;
      if (!node) {
        const text = describeRest(hidden, parent);
        return at(make('a', {class: 'not-shown', href: linkTo(parent), tabindex: '-1', title: text,
                             'aria-label': text},
                       fitting([`+ ${format.counted(hidden, 'block')}`, `+ ${format.count(hidden)}`],
                               width)));
      }
      const heat = Math.ceil(4 * Math.log1p(node.hits) / Math.log1p(most));
      const link = make('a', {
        href: linkTo(node === chosen ? node.above : node), 'data-key': node.key,
        class: `heat-${heat} tier-${lowestTier(node)}`, tabindex: node === shown[0].node ? '0' : '-1',
        'aria-label': describe(node), 'aria-current': node === chosen ? 'true' : null, title: describe(node),
      }, fitting([format.counted(node.own_tokens, 'token'), format.count(node.own_tokens)], width));
      return at(link);
    }));
    if (focused) this.icicle.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  showDetail(node) {
    this.ofPrefix.hidden = !node;
    const rows = node ? [
      ['Tenant', node.tenant],
      ['Tokens', `${format.count(node.tokens)}, ${format.count(node.own_tokens)} of them its own`],
      ['Hits', format.count(node.hits)],
      ['Tokens saved', format.count(node.tokens * node.hits)],
      ['Blocks', this.tiers.map((tier) => `${format.count(node.blocks[tier])} ${PLACES[tier]}`).join(', ')],
      ['Last use', format.ago(node.last_use, this.document.at)],
      ['Pinned', node.pinned ? 'yes: evicted last' : 'no'],
      ['Continued by', `${format.count(node.children.length)} prefixes shown here`],
    ] : [];
    this.detail.replaceChildren(...(node ? [
      make('h3', {}, `Prefix ${node.key}`),
      make('dl', {}, facts(rows)),
      make('a', {href: linkTo(node.above)}, node.above ? 'To the prefix above' : 'To all prefixes')] : []));
  }

  // The arrow keys go to the parent, the first child, and the neighbours of a level.
  move(event) {
    const links = [...this.icicle.children], at = links.indexOf(document.activeElement);
    if (at < 0) return;
    const {level, left, width} = this.placed[at];
    const find = (wanted) => this.placed.findIndex(wanted);
    const inside = (each) => each.left >= left - 1e-9 && each.left < left + width;
    const next = {
      ArrowUp: () => find((each) => each.level === level - 1 && each.left <= left + 1e-9 &&
                                    left < each.left + each.width),
      ArrowDown: () => find((each) => each.level === level + 1 && inside(each)),
      ArrowRight: () => find((each) => each.level === level && each.left >= left + width - 1e-9),
      ArrowLeft: () => this.placed.findLastIndex((each) => each.level === level && each.left < left - 1e-9),
    }[event.key]?.();
    if (next === undefined) return;
    event.preventDefault();
    if (next < 0) return;
    links[at].tabIndex = -1;
    links[next].tabIndex = 0;
    links[next].focus();
  }
}
