// Numbers as texts. What is not known is "–".

const UNKNOWN = '–';
const known = (value) => value !== null && value !== undefined;
const significant = (value) => value.toLocaleString('en', {maximumSignificantDigits: 3});

export function count(value) {
  return known(value) ? Math.round(value).toLocaleString('en') : UNKNOWN;
}

// "1 block", "2 blocks"
export function counted(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`;
}

export function number(value) {
  return known(value) ? significant(value) : UNKNOWN;
}

export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  while (value >= 1024 && unit + 1 < units.length) {
    value /= 1024;
    ++unit;
  }
  return `${significant(value)} ${units[unit]}`;
}

// A share that rounds to nothing is not nothing.
export function percent(share) {
  if (known(share) && share > 0 && share < 0.0005) return '< 0.1 %';
  return known(share) ? `${(100 * share).toLocaleString('en', {maximumFractionDigits: 1})} %` : UNKNOWN;
}

// A short span: "3.2 ms", "1.4 s".
export function seconds(value) {
  if (!known(value)) return UNKNOWN;
  return Math.abs(value) < 1 ? `${significant(1000 * value)} ms` : `${significant(value)} s`;
}

// A long span in its two largest units: "3 d 4 h", "5 min 2 s".
export function span(value) {
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  let rest = Math.max(0, Math.floor(value));
  const parts = [];
  for (const [unit, size] of units) {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    if (whole > 0 || (unit === 's' && parts.length === 0)) parts.push(`${whole} ${unit}`);
    if (parts.length === 2 || (parts.length === 1 && whole === 0)) break;
  }
  return parts.join(' ');
}

// A point in time, in Unix seconds.
export function ago(unix, now) {
  return known(unix) ? `${span(now - unix)} ago` : UNKNOWN;
}

export function clock(unix) {
  return known(unix) ? new Date(1000 * unix).toLocaleTimeString('en-GB') : UNKNOWN;
}
