// Makes elements without markup, so that nothing the daemon says can become markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// make('p', {class: 'note'}, 'text', child): attributes of null, undefined or false are left out; one that
// begins with "on" is a listener. Arrays of children are flattened.
export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

// Sets the text unless it is there already: an equal text must not be read aloud again.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A table with a caption. `columns` are [title, isNumber], `rows` arrays of texts or nodes; the first cell of
// a row is its header.
export function table(caption, columns, rows) {
  const head = columns.map(([title, number]) => make('th', {scope: 'col', class: number && 'number'}, title));
  const body = rows.map((row) => make('tr', {}, row.map((cell, i) => make(
      i === 0 ? 'th' : 'td', {scope: i === 0 ? 'row' : null, class: columns[i][1] && 'number'}, cell))));
  return make('table', {}, make('caption', {}, make('span', {}, caption)),
              make('thead', {}, make('tr', {}, head)), make('tbody', {}, body));
}

// A part of the page that scrolls by itself when it is too large, also by keyboard.
export function scrolls(label, kind = '') {
  return make('div', {class: `scrolls ${kind}`, tabindex: '0', role: 'region', 'aria-label': label});
}

// What the colours and hatches mean; `items` are [class, text or nodes].
export function legend(items) {
  return make('ul', {class: 'legend'}, legendItems(items));
}

export function legendItems(items) {
  return items.map(([name, ...words]) => make('li', {}, make('span', {class: `swatch ${name}`}), words));
}

// The children of a <dl>; `rows` are [name, value].
export function facts(rows) {
  return rows.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]);
}

// A chart and the same as a table, closed at first. update(chart, table) replaces both.
export class Figure {
  constructor(summary) {
    this.chart = make('div', {class: 'chart'});
    this.twin = scrolls(summary);
    this.element = make('div', {class: 'figure'}, this.chart,
                        make('details', {}, make('summary', {}, summary), this.twin));
  }

  update(chart, twin) {
    this.chart.replaceChildren(chart);
    this.twin.replaceChildren(twin);
  }
}
