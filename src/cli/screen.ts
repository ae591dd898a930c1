/**
 * Standard error as a person sees it: lines that stay and, on a terminal, one block below them that is redrawn in place.
 * Everything for people goes through here, so that no message ends inside the block and no block eats a message.
 */

const out = process.stderr;
/** The terminal cuts what is too wide instead of wrapping it: a wrapped line would be two to go up over. */
const noWrap = '\x1b[?7l';
const wrap = '\x1b[?7h';
const clearToLineEnd = '\x1b[K';
const clearBelow = '\x1b[J';

let block: string[] = [];

/** A line, or several, that stay. */
export function say(text: string): void {
  write(`${text}\n`, block);
}

/** Replaces the block. Only on a terminal. */
export function draw(lines: readonly string[]): void {
  // Taller than the terminal, its first lines would be out of reach.
  write('', lines.slice(0, Math.max(1, (out.rows ?? 24) - 1)));
}

/** Takes the block away. */
export function erase(): void {
  if (block.length > 0) write('', []);
}

/** One write for everything: between two of them a terminal may show the half. */
function write(text: string, next: readonly string[]): void {
  const up = block.length > 0 ? `\r\x1b[${block.length}A${clearBelow}` : '';
  const redraw = text === '' && next.length > 0 && block.length > 0;
  const lines = next.map((line) => `${line}${clearToLineEnd}\n`).join('');
  // In place, line by line: clearing it all first is what flickers.
  if (redraw) out.write(`\r\x1b[${block.length}A${noWrap}${lines}${clearBelow}${wrap}`);
  else out.write(`${up}${text}${lines && noWrap + lines + wrap}`);
  block = [...next];
}
