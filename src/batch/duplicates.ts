/**
 * Finds every custom_id that occurs twice, in a file of any length, with 8 bytes a line and bounded memory.
 *
 *   add: hash of every id ─► array ─(full)─► sort, append to a temporary file as one run
 *   find: runs + array, one range of hashes at a time ─► hashes seen twice: suspects
 *         suspects, a block at a time ─► read the input again ─► ids that really are equal
 *
 * A hash seen twice is a suspicion; only the second reading, which compares the ids, makes it a duplicate. Without a
 * suspect there is no second reading, and that is the normal case.
 */
import { hash, randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import { AppError, messageOf } from '../errors.ts';
import { createIdHash, hashSpace } from './id-hash.ts';

export type Duplicate = { customId: string; line: number; firstLine: number };

/** Calls `visit` for the id of every line that counts, in the order of the file. */
export type ReadIds = (visit: (customId: string, line: number) => void) => Promise<void>;

export type DuplicateOptions = {
  /** For the temporary file, which is needed only by input of more lines than `hashesInMemory`. */
  spoolDir: string;
  /** 8 bytes each. Default 2^20. */
  hashesInMemory?: number;
  /** Of the hashes, 8 bytes. Default: by chance. */
  hashKey?: Uint8Array;
  /** Suspects looked at in one more reading of the input; about 150 bytes each. Default 2^18. */
  suspectsPerReading?: number;
};

/** Longer ids are remembered by digest, so that a suspect's memory has a limit. */
const longestRememberedId = 64;
const bytesPerHash = Float64Array.BYTES_PER_ELEMENT;
const slice = new Float64Array(4096);

type Run = { position: number; end: number };

export class DuplicateFinder {
  readonly #options: Required<Omit<DuplicateOptions, 'hashKey'>>;
  readonly #hash: (id: string) => number;
  #hashes: Float64Array;
  #count = 0;
  #runs: Run[] = [];
  /** Opened by the first run, and already without a name: a crash leaves nothing behind. */
  #file: number | null = null;

  constructor({ hashKey = randomBytes(8), ...options }: DuplicateOptions) {
    this.#hash = createIdHash(Buffer.from(hashKey));
    this.#options = { hashesInMemory: 2 ** 20, suspectsPerReading: 2 ** 18, ...options };
    this.#hashes = new Float64Array(this.#options.hashesInMemory);
  }

  add(customId: string): void {
    // Once in a million lines, and then a matter of a tenth of a second: not worth a promise for each line.
    if (this.#count === this.#hashes.length) this.#spill();
    this.#hashes[this.#count] = this.#hash(customId);
    this.#count += 1;
  }

  /** The hashes of many ids, made elsewhere with the same key. */
  addHashes(hashes: Float64Array): void {
    for (let from = 0; from < hashes.length;) {
      if (this.#count === this.#hashes.length) this.#spill();
      const piece = hashes.subarray(from, from + this.#hashes.length - this.#count);
      this.#hashes.set(piece, this.#count);
      this.#count += piece.length;
      from += piece.length;
    }
  }

  /** Reports every duplicate of an earlier line to `found`; by line within one reading of the input. */
  async find(readIds: ReadIds, found: (duplicate: Duplicate) => void): Promise<void> {
    for (const suspects of this.#suspects()) {
      const firstLines = new Map<string, number>();
      await readIds((customId, line) => {
        if (!suspects.has(this.#hash(customId))) return;
        const remembered = customId.length <= longestRememberedId ? customId : hash('sha256', customId);
        const firstLine = firstLines.get(remembered);
        if (firstLine === undefined) firstLines.set(remembered, line);
        else found({ customId, line, firstLine });
      });
    }
  }

  [Symbol.dispose](): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  *#suspects(): Generator<Set<number>> {
    let suspects = new Set<number>();
    for (const sorted of this.#sortedRanges()) {
      for (let at = 1; at < sorted.length; at += 1) {
        if (sorted[at] !== sorted[at - 1]) continue;
        suspects.add(sorted[at] as number);
        if (suspects.size < this.#options.suspectsPerReading) continue;
        yield suspects;
        // Equal hashes are neighbours: the next block must not begin with the one that ended this.
        while (sorted[at + 1] === sorted[at]) at += 1;
        suspects = new Set();
      }
    }
    if (suspects.size > 0) yield suspects;
  }

  /** All hashes, in ascending ranges that fit into memory. The runs are sorted, so a range is a stretch of each. */
  *#sortedRanges(): Generator<Float64Array> {
    if (this.#runs.length === 0) {
      yield this.#sorted();
      return;
    }
    this.#spill();
    // Hashes are spread evenly: with twice as many ranges as runs, a range about half fills the array.
    const rangeCount = this.#runs.length * 2;
    for (let range = 1; range <= rangeCount; range += 1) {
      const bound = (range / rangeCount) * hashSpace;
      this.#count = 0;
      for (const run of this.#runs) this.#takeBelow(run, bound);
      yield this.#sorted();
    }
  }

  #sorted(): Float64Array {
    const hashes = this.#hashes.subarray(0, this.#count);
    hashes.sort();
    return hashes;
  }

  #takeBelow(run: Run, bound: number): void {
    while (run.position < run.end) {
      const wanted = Math.min(slice.length, run.end - run.position);
      const read = readSync(this.#file as number, slice, 0, wanted * bytesPerHash, run.position * bytesPerHash);
      if (read !== wanted * bytesPerHash)
        throw new Error(`a run of hashes ends ${wanted * bytesPerHash - read} bytes early`);
      const hashes = slice.subarray(0, wanted);
      const above = hashes.findIndex((value) => value >= bound);
      const taken = above === -1 ? hashes : hashes.subarray(0, above);
      if (this.#count + taken.length > this.#hashes.length) this.#grow();
      this.#hashes.set(taken, this.#count);
      this.#count += taken.length;
      run.position += taken.length;
      if (above !== -1) return;
    }
  }

  #grow(): void {
    const larger = new Float64Array(this.#hashes.length * 2 + slice.length);
    larger.set(this.#hashes);
    this.#hashes = larger;
  }

  #spill(): void {
    const sorted = this.#sorted();
    // Twice is enough to be a suspect: a file of one id a million times over must not fill one range.
    let kept = 0;
    for (let at = 0; at < sorted.length; at += 1) {
      if (kept >= 2 && sorted[at] === sorted[kept - 1] && sorted[at] === sorted[kept - 2]) continue;
      sorted[kept] = sorted[at] as number;
      kept += 1;
    }
    const position = this.#runs.at(-1)?.end ?? 0;
    this.#write(new Uint8Array(sorted.buffer, 0, kept * bytesPerHash), position * bytesPerHash);
    this.#runs.push({ position, end: position + kept });
    this.#count = 0;
  }

  #write(bytes: Uint8Array, position: number): void {
    const { spoolDir } = this.#options;
    try {
      this.#file ??= openNameless(spoolDir);
      for (let written = 0; written < bytes.length;) {
        written += writeSync(this.#file, bytes, written, bytes.length - written, position + written);
      }
    } catch (error) {
      const message = `cannot write to ${spoolDir}: ${messageOf(error)}; free some space, or choose another place with --data`;
      throw new AppError('disk', message, { cause: error });
    }
  }
}

function openNameless(directory: string): number {
  mkdirSync(directory, { recursive: true });
  const name = path.join(directory, `ids-${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
  const file = openSync(name, 'wx+', 0o600);
  rmSync(name);
  return file;
}
