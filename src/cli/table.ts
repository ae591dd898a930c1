/**
 * A small text table for people: columns as wide as their widest cell, numbers to the right. It prints what it is
 * given as plain text: control characters, which a provider's words may hold, do not reach the terminal.
 */

export type Column = { title: string; align?: 'left' | 'right' };

const gap = '  ';
const graphemes = new Intl.Segmenter();

/** Lines without trailing spaces, each ended by a newline; `footer` rows stand below a rule, such as a total. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  footer: readonly (readonly string[])[] = [],
): string {
  const plain = (row: readonly string[]) => columns.map((_, index) => (row[index] ?? '').replace(/\p{Cc}+/gu, ' '));
  const header = plain(columns.map((column) => column.title));
  const body = rows.map(plain);
  const foot = footer.map(plain);
  const widths = columns.map((_, index) => Math.max(...[header, ...body, ...foot].map((row) => widthOf(row[index]))));
  const line = (row: readonly string[]) =>
    columns.map(({ align }, index) => pad(row[index] ?? '', widths[index] ?? 0, align ?? 'left')).join(gap);
  const rule = widths.map((width) => '─'.repeat(width)).join(gap);
  const lines = [line(header), rule, ...body.map(line), ...(foot.length > 0 ? [rule, ...foot.map(line)] : [])];
  return lines.map((text) => `${text.trimEnd()}\n`).join('');
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const space = ' '.repeat(width - widthOf(text));
  return align === 'right' ? space + text : text + space;
}

function widthOf(text = ''): number {
  return [...graphemes.segment(text)].length;
}
