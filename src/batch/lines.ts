/**
 * An input file in chunks of whole lines. A chunk's end depends only on the content behind its start and on the
 * options, so a reading that begins at any earlier chunk's end yields the same chunks as the first one: checkpoints
 * are exact. Offsets count decompressed bytes, lines are physical lines from 1, blank ones included.
 */
import { AppError } from '../errors.ts';
import { readBytes, type ByteOptions, type ByteSource } from './bytes.ts';
import { decodeLines } from './decode.ts';

export type Chunk = {
  /** 1-based physical line. */
  firstLine: number;
  /** Of the first byte, in the decompressed file. */
  offset: number;
  /** Of the byte after the last line's newline: the next chunk's offset. */
  endOffset: number;
  /** The lines joined by \n, without the last newline (and without a byte order mark). See decode.ts for bad UTF-8. */
  text: string;
  lineCount: number;
  /** Lines that are not blank. */
  requestCount: number;
};

export type ChunkOptions = {
  /** Both from an earlier chunk (`endOffset`, `firstLine + lineCount`), or 0 and 1. */
  fromOffset: number;
  fromLine: number;
  maxLines: number;
  /** A chunk ends before the line that would take it above this; one line alone may be larger. */
  maxBytes: number;
  onRawBytes?: ByteOptions['onRawBytes'];
};

/** No provider takes a request near this, and a file without newlines must not fill the memory. */
export const longestLineBytes = 64 * 1024 * 1024;

/** A chunk whose text is still bytes, which are valid until the next one is asked for. */
export type LineBlock = Omit<Chunk, 'text'> & { bytes: Buffer };

export async function* readChunks(input: ByteSource, options: ChunkOptions): AsyncGenerator<Chunk> {
  for await (const { bytes, ...place } of readBlocks(input, options)) yield { ...place, text: decodeLines(bytes) };
}

export async function* readBlocks(input: ByteSource, options: ChunkOptions): AsyncGenerator<LineBlock> {
  const cutter = new ChunkCutter(input.source, options);
  for await (const block of readBytes(input, options)) {
    cutter.add(block);
    for (let chunk = cutter.take(); chunk; chunk = cutter.take()) yield chunk;
  }
  yield* cutter.finish();
}

const blank = /^[ \t\r]*$/;

/** Calls `visit` for every line of a chunk that is not blank. Returns the number of the line behind the chunk. */
export function eachLine(
  chunk: Pick<Chunk, 'text' | 'firstLine'>,
  visit: (text: string, line: number) => void,
): number {
  const { text } = chunk;
  let line = chunk.firstLine;
  for (let from = 0; from <= text.length; line += 1) {
    const found = text.indexOf('\n', from);
    const to = found === -1 ? text.length : found;
    if (to > from) {
      const one = text.slice(from, to);
      if (text.charCodeAt(from) > 0x20 || !blank.test(one)) visit(one, line);
    }
    from = to + 1;
  }
  return line;
}

const newline = 0x0a;
const byteOrderMark = Buffer.from('\ufeff');

/** Holds the bytes of the chunk in the making and of the block behind it. Positions are into `#held`. */
class ChunkCutter {
  readonly #source: string;
  readonly #maxLines: number;
  readonly #maxBytes: number;
  #held = Buffer.allocUnsafeSlow(2 * 1024 * 1024);
  /** Where the chunk begins, the line that is being looked at begins, the search goes on, and the bytes end. */
  #start = 0;
  #lineStart = 0;
  #scanned = 0;
  #end = 0;
  #offset: number;
  #firstLine: number;
  #lineCount = 0;
  #requestCount = 0;

  constructor(source: string, options: ChunkOptions) {
    this.#source = source;
    this.#maxLines = Math.max(1, options.maxLines);
    this.#maxBytes = options.maxBytes;
    this.#offset = options.fromOffset;
    this.#firstLine = options.fromLine;
  }

  add(block: Buffer): void {
    if (this.#end + block.length > this.#held.length) this.#makeRoom(block.length);
    block.copy(this.#held, this.#end);
    this.#end += block.length;
  }

  /** The next whole chunk, or null when more bytes are needed to know where it ends. */
  take(): LineBlock | null {
    const bytes = this.#held.subarray(0, this.#end);
    for (;;) {
      const found = bytes.indexOf(newline, this.#scanned);
      const lineEnd = found === -1 ? this.#end : found + 1;
      if (this.#lineCount > 0 && lineEnd - this.#start > this.#maxBytes) return this.#cut(this.#lineStart - 1);
      this.#scanned = lineEnd;
      if (lineEnd - this.#lineStart > longestLineBytes) throw this.#tooLong();
      if (found === -1) return null;
      this.#countLine(lineEnd, found);
      if (this.#lineCount === this.#maxLines) return this.#cut(found);
    }
  }

  /** After the last block: what is left, with or without a last newline. */
  *finish(): Generator<LineBlock> {
    // Every newline is behind `#lineStart` now, and `take` has cut what was too large together.
    const endsInNewline = this.#end === this.#lineStart;
    if (!endsInNewline) this.#countLine(this.#end, this.#end);
    if (this.#lineCount > 0) yield this.#cut(endsInNewline ? this.#end - 1 : this.#end);
  }

  #countLine(lineEnd: number, textEnd: number): void {
    const textStart = this.#lineCount === 0 ? this.#textStart() : this.#lineStart;
    if (!this.#isBlank(textStart, textEnd)) this.#requestCount += 1;
    this.#lineCount += 1;
    this.#lineStart = lineEnd;
  }

  #cut(textEnd: number): LineBlock {
    const bytes = this.#held.subarray(this.#textStart(), textEnd);
    const endOffset = this.#offset + this.#lineStart - this.#start;
    const block: LineBlock = {
      firstLine: this.#firstLine,
      offset: this.#offset,
      endOffset,
      bytes,
      lineCount: this.#lineCount,
      requestCount: this.#requestCount,
    };
    this.#start = this.#lineStart;
    this.#scanned = this.#lineStart;
    this.#offset = endOffset;
    this.#firstLine += this.#lineCount;
    this.#lineCount = 0;
    this.#requestCount = 0;
    return block;
  }

  /** Windows programs begin UTF-8 files with a byte order mark: it counts as bytes, not as text. */
  #textStart(): number {
    if (this.#offset !== 0) return this.#start;
    const head = this.#held.subarray(this.#start, Math.min(this.#start + byteOrderMark.length, this.#end));
    return head.equals(byteOrderMark) ? this.#start + byteOrderMark.length : this.#start;
  }

  #isBlank(from: number, to: number): boolean {
    for (let at = from; at < to; at += 1) {
      const byte = this.#held[at];
      if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false;
    }
    return true;
  }

  /** Moves the held bytes to the front; into a buffer of twice the size when that is not enough. */
  #makeRoom(more: number): void {
    const length = this.#end - this.#start;
    const needed = length + more;
    // Half of it stays free, so that the moving is paid for by the bytes that come in between.
    const target = needed * 2 > this.#held.length ? Buffer.allocUnsafeSlow(needed * 2) : this.#held;
    this.#held.copy(target, 0, this.#start, this.#end);
    this.#held = target;
    this.#lineStart -= this.#start;
    this.#scanned -= this.#start;
    this.#end = length;
    this.#start = 0;
  }

  #tooLong(): AppError {
    const line = this.#firstLine + this.#lineCount;
    const limit = `${longestLineBytes / 1024 / 1024} MiB`;
    return new AppError(
      'input',
      `${this.#source}:${line}: expected lines of at most ${limit}, got a longer one; is the file one JSON document? (jq -c '.[]' turns an array into lines)`,
    );
  }
}
