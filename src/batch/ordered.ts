/**
 * `--ordered`: the output file in input order, at the end. In memory are only line numbers and offsets; the lines are
 * copied from the finished file into a new one, which takes its place by renaming: a crash leaves one or the other.
 */
import assert from 'node:assert/strict';
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import { indexLines, readPlace, type LineIndex } from './line-index.ts';
import { diskError } from './result-file.ts';

const bytesPerWrite = 1024 * 1024;

/** Errors: `disk`. The file is as it was then, and nothing else is left. */
export async function putInOrder(file: string): Promise<void> {
  const temporary = `${file}.ordered`;
  try {
    const from = await open(file, 'r');
    const to = await open(temporary, 'w');
    try {
      await copyLines(from, to, await indexLines(from));
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

async function copyLines(from: FileHandle, to: FileHandle, places: LineIndex): Promise<void> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  const flush = async () => {
    // Not writev, which may write a part and say nothing of the rest (a full disk).
    if (heldBytes > 0) await to.writeFile(Buffer.concat(held));
    held = [];
    heldBytes = 0;
  };
  for (let index = 0; index < places.count; index += 1) {
    const line = await readPlace(from, places.at(index));
    held.push(line);
    heldBytes += line.length;
    if (heldBytes >= bytesPerWrite) await flush();
  }
  await flush();
}
