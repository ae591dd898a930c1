/**
 * Where each result stands in a finished output or error file, by the line of the input it belongs to. Twenty bytes a
 * line in memory, never a body.
 */
import type { FileHandle } from 'node:fs/promises';

const readBytes = 1024 * 1024;
/** Every result's id holds its line (result-line.ts): `{"id":"batch_req_<batch>-<line>…`. */
const lineOfResult = /^\{"id":"batch_req_[^-"]*-(\d+)/;
const longestIdBytes = 128;

/** `bytes` with the newline at the end. */
export type Place = { line: number; offset: number; bytes: number };

/** In the order of the input's lines. */
export type LineIndex = { count: number; at: (index: number) => Place };

export async function indexLines(from: FileHandle): Promise<LineIndex> {
  const places = new Places();
  const buffer = Buffer.alloc(readBytes);
  let head = '';
  let start = 0;
  let position = 0;
  for (;;) {
    const { bytesRead } = await from.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return places.inOrder();
    for (let index = 0; index < bytesRead;) {
      const newline = buffer.subarray(0, bytesRead).indexOf(10, index);
      const end = newline === -1 ? bytesRead : newline;
      if (head.length < longestIdBytes) head += buffer.toString('latin1', index, Math.min(end, index + longestIdBytes));
      if (newline !== -1) {
        const offset = position + newline + 1;
        places.add(Number(lineOfResult.exec(head)?.[1] ?? 0), start, offset - start);
        head = '';
        start = offset;
      }
      index = end + 1;
    }
    position += bytesRead;
  }
}

export async function readPlace(from: FileHandle, { offset, bytes }: Place): Promise<Buffer> {
  const line = Buffer.alloc(bytes);
  await from.read(line, 0, bytes, offset);
  return line;
}

/** Plain numbers in arrays that double: an object each would cost four times the memory. */
class Places {
  #lines = new Uint32Array(1024);
  #offsets = new Float64Array(1024);
  #bytes = new Uint32Array(1024);
  #count = 0;

  add(line: number, offset: number, bytes: number): void {
    if (this.#count === this.#lines.length) this.#grow();
    this.#lines[this.#count] = line;
    this.#offsets[this.#count] = offset;
    this.#bytes[this.#count] = bytes;
    this.#count += 1;
  }

  inOrder(): LineIndex {
    const lines = this.#lines;
    const order = new Uint32Array(this.#count).map((_, index) => index);
    order.sort((a, b) => (lines[a] as number) - (lines[b] as number));
    const at = (index: number): Place => {
      const place = order[index] as number;
      return {
        line: lines[place] as number,
        offset: this.#offsets[place] as number,
        bytes: this.#bytes[place] as number,
      };
    };
    return { count: this.#count, at };
  }

  #grow(): void {
    const length = this.#count * 2;
    const [lines, offsets, bytes] = [new Uint32Array(length), new Float64Array(length), new Uint32Array(length)];
    lines.set(this.#lines);
    offsets.set(this.#offsets);
    bytes.set(this.#bytes);
    [this.#lines, this.#offsets, this.#bytes] = [lines, offsets, bytes];
  }
}
