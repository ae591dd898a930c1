/**
 * Bytes of an input → text. UTF-8 only. A line that is not UTF-8 keeps its place, decoded as well as it can be, with a
 * mark in front that no JSON may hold, so that every later reader of the line refuses it — also after a way through
 * Redis, where the replacement characters alone would look like a good line.
 */
import { isAscii, isUtf8 } from 'node:buffer';

/** ASCII's own "substitute" character: stands for what could not be read. As a raw character it is illegal in JSON. */
export const notUtf8Mark = '\u001a';

const newline = 0x0a;

/** `bytes` are whole lines, without the last newline. */
export function decodeLines(bytes: Buffer): string {
  // Four times as quick as UTF-8 decoding, and most files are ASCII.
  if (isAscii(bytes)) return bytes.toString('latin1');
  if (isUtf8(bytes)) return bytes.toString('utf8');
  const lines: string[] = [];
  for (let from = 0; from <= bytes.length;) {
    const found = bytes.indexOf(newline, from);
    const to = found === -1 ? bytes.length : found;
    const line = bytes.subarray(from, to);
    lines.push(isUtf8(line) ? line.toString('utf8') : notUtf8Mark + line.toString('utf8'));
    from = to + 1;
  }
  return lines.join('\n');
}
