/**
 * `--ordered`: the output file in input order, at the end. In memory are only line numbers and offsets; the lines are
 * copied from the finished file into a new one, which takes its place by renaming: a crash leaves one or the other.
 */
import assert from 'node:assert/strict';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { diskError } from './result-file.ts';

const readBytes = 1024 * 1024;
/** Every result's id holds its line (result-line.ts): `{"id":"batch_req_<batch>-<line>…`. */
const lineOfResult = /^\{"id":"batch_req_[^-"]*-(\d+)/;
const longestIdBytes = 128;

type Place = { line: number; offset: number; bytes: number };

/** Errors: `disk`. The file is as it was then, and nothing else is left. */
export async function putInOrder(file: string): Promise<void> {
  const temporary = `${file}.ordered`;
  try {
    const from = await open(file, 'r');
    const to = await open(temporary, 'w');
    try {
      const places = await findLines(from);
      places.sort((a, b) => a.line - b.line);
      await copyLines(from, to, places);
      await to.sync();
      // The original goes when this takes its place: not a byte may be missing.
      assert.equal(
        (await to.stat()).size,
        (await from.stat()).size,
        'a part of the file is missing from its ordered copy',
      );
    } finally {
      await Promise.all([from.close(), to.close()]);
    }
    await rename(temporary, file);
  } catch (error) {
    // A second failure would hide the first.
    await rm(temporary, { force: true }).catch(() => {});
    throw diskError(temporary, error);
  }
}

async function findLines(from: FileHandle): Promise<Place[]> {
  const places: Place[] = [];
  const buffer = Buffer.alloc(readBytes);
  let head = '';
  let start = 0;
  let position = 0;
  for (;;) {
    const { bytesRead } = await from.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return places;
    for (let index = 0; index < bytesRead;) {
      const newline = buffer.subarray(0, bytesRead).indexOf(10, index);
      const end = newline === -1 ? bytesRead : newline;
      if (head.length < longestIdBytes) head += buffer.toString('latin1', index, Math.min(end, index + longestIdBytes));
      if (newline !== -1) {
        const offset = position + newline + 1;
        places.push({ line: Number(lineOfResult.exec(head)?.[1] ?? 0), offset: start, bytes: offset - start });
        head = '';
        start = offset;
      }
      index = end + 1;
    }
    position += bytesRead;
  }
}

async function copyLines(from: FileHandle, to: FileHandle, places: Place[]): Promise<void> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  const flush = async () => {
    // Not writev, which may write a part and say nothing of the rest (a full disk).
    if (heldBytes > 0) await to.writeFile(Buffer.concat(held));
    held = [];
    heldBytes = 0;
  };
  for (const { offset, bytes } of places) {
    const line = Buffer.alloc(bytes);
    await from.read(line, 0, bytes, offset);
    held.push(line);
    heldBytes += bytes;
    if (heldBytes >= readBytes) await flush();
  }
  await flush();
}
