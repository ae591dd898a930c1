/** Medians, ratios and tables. */

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Null where no value is a number. */
export function medianOf<T>(items: readonly T[], value: (item: T) => number | null): number | null {
  const values = items.map(value).filter((one) => one !== null);
  return values.length === 0 ? null : median(values);
}

/** To so many significant digits; a figure says no more than was measured. */
export function round(value: number, digits = 4): number {
  return Number(value.toPrecision(digits));
}

export function roundOrNull(value: number | null, digits?: number): number | null {
  return value === null ? null : round(value, digits);
}

/** A Markdown table, aligned for reading as it is. */
export function tableOf(header: string[], rows: string[][]): string {
  const widths = header.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: string[]) =>
    `| ${cells.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join(' | ')} |`;
  const rule = `|${widths.map((width, at) => (at === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(header), rule, ...rows.map(line)].join('\n');
}

const thousands = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

export function count(value: number | null): string {
  return value === null ? '\u2013' : thousands.format(value);
}

export function megabytes(bytes: number | null): string {
  return bytes === null ? '\u2013' : `${(bytes / 1e6).toFixed(0)} MB`;
}

export function ratio(value: number | null | undefined): string {
  return value === null || value === undefined ? '\u2013' : `${value.toFixed(2)} \u00d7`;
}
