import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DuplicateFinder, type Duplicate } from '../../src/batch/duplicates.ts';
import { createIdHash, hashSpace } from '../../src/batch/id-hash.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-duplicates-'));
});
afterAll(() => rm(directory, { recursive: true }));

async function find(ids: string[], hashesInMemory: number, suspectsPerReading = 1000) {
  using finder = new DuplicateFinder({ spoolDir: path.join(directory, 'spool'), hashesInMemory, suspectsPerReading });
  for (const id of ids) finder.add(id);
  const found: Duplicate[] = [];
  let readings = 0;
  await finder.find(
    async (visit) => {
      readings += 1;
      for (const [index, id] of ids.entries()) visit(id, index + 1);
    },
    (duplicate) => found.push(duplicate),
  );
  return { found: found.toSorted((a, b) => a.line - b.line), readings };
}

function expected(ids: string[]): Duplicate[] {
  const firstLines = new Map<string, number>();
  return ids.flatMap((customId, index) => {
    const firstLine = firstLines.get(customId);
    if (firstLine === undefined) firstLines.set(customId, index + 1);
    return firstLine === undefined ? [] : [{ customId, line: index + 1, firstLine }];
  });
}

describe('DuplicateFinder', () => {
  it('finds what a plain map finds, however often it must spill and read again', async () => {
    const ids = fc.array(fc.oneof(fc.constantFrom('a', 'b', '', 'x'.repeat(300)), fc.nat(60).map(String)), {
      maxLength: 200,
    });
    await fc.assert(
      fc.asyncProperty(
        ids,
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 5 }),
        async (all, held, block) => {
          expect((await find(all, held, block)).found).toEqual(expected(all));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('finds the one pair among a hundred thousand ids in a dozen runs, in one more reading', async () => {
    const ids = Array.from({ length: 100_000 }, (_, index) => `request-${index}`);
    ids[99_990] = 'request-17';
    expect(await find(ids, 8192)).toEqual({
      found: [{ customId: 'request-17', line: 99_991, firstLine: 18 }],
      readings: 1,
    });
  });

  it('reads the input only once where every id is its own', async () => {
    const ids = Array.from({ length: 20_000 }, (_, index) => String(index));
    expect(await find(ids, 1024)).toEqual({ found: [], readings: 0 });
  });

  it('takes one id repeated over all lines without a file to match', async () => {
    const { found, readings } = await find(
      Array.from({ length: 50_000 }, () => 'same'),
      512,
    );
    expect(readings).toBe(1);
    expect(found).toHaveLength(49_999);
    expect(found.every(({ firstLine }) => firstLine === 1)).toBe(true);
  });

  it('leaves nothing behind, not even while it works', async () => {
    await find(
      Array.from({ length: 100 }, (_, index) => String(index)),
      10,
    );
    expect(await readdir(path.join(directory, 'spool'))).toEqual([]);
  });

  it('says where it could not write', async () => {
    const file = path.join(directory, 'file');
    await writeFile(file, '');
    using finder = new DuplicateFinder({ spoolDir: path.join(file, 'spool'), hashesInMemory: 1 });
    finder.add('a');
    expect(() => finder.add('b')).toThrow(/cannot write to .*--data/);
  });
});

describe('the hash of an id', () => {
  // Made with the reference's algorithm at 1-3 rounds and 64 bits over UTF-16LE, key 00…07; the top 11 bits dropped.
  it.each([
    ['', 1511708796429686],
    ['a', 3582607747145662],
    ['ab', 1917803111921747],
    ['request-17', 1621144065357590],
    ['ü€漢😀x', 668664945437796],
    ['x'.repeat(500), 4317724469867888],
  ])('of %j is HalfSipHash-1-3’s', (id, hash) => {
    expect(createIdHash(Buffer.from([0, 1, 2, 3, 4, 5, 6, 7]))(id)).toBe(hash);
  });

  it('differs from one use to the next and spreads evenly over its space', () => {
    const hash = createIdHash();
    expect(createIdHash()('a')).not.toBe(hash('a'));
    const counts = Array.from({ length: 16 }, () => 0);
    for (let index = 0; index < 16_000; index += 1) {
      const slot = Math.floor((hash(`id-${index}`) / hashSpace) * 16);
      counts[slot] = (counts[slot] ?? 0) + 1;
    }
    // Seven standard deviations around the thousand of each.
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(220);
  });
});
