/** What is told of a batch: manifest, progress, and whether a file is still the one it was begun with. */
import { appendFile, chmod, mkdir, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createHash } from 'node:crypto';
import { describe, expect, it, test } from 'vitest';
import type { BatchRecord } from '../../src/batch/batch.ts';
import { sha256OfFile, statMark } from '../../src/batch/fingerprint.ts';
import { openInput } from '../../src/batch/input.ts';
import { manifestOf, readManifest, usd, writeManifest } from '../../src/batch/manifest.ts';
import { createRate, describeProgress } from '../../src/batch/progress.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import type { BatchSummary } from '../../src/ledger/store.ts';
import { entry, failedEntry, unknownEntry } from '../ledger/entries.ts';
import { testRedis } from '../support/redis.ts';
import { createBatchWorld, testDirectory } from './world.ts';

const redis = testRedis();
const at = testDirectory();

async function summaryOf(batchId: string): Promise<BatchSummary> {
  const store = openSqliteLedger(at('ledger.db'));
  await store.insert([
    entry({ attemptId: `${batchId}.1`, batchId }),
    failedEntry({ attemptId: `${batchId}.2`, batchId }),
    unknownEntry({ attemptId: `${batchId}.3`, batchId }),
  ]);
  const summary = await store.batchSummary(batchId);
  await store.close();
  return summary;
}

describe('the manifest', () => {
  it('tells what became of a batch, and comes back as its anchor', async () => {
    const { batchId, record } = await createBatchWorld(redis, at, { name: 'nachts 🌙', total: 3 });
    const batch: BatchRecord = {
      ...(await record()),
      counts: { completed: 1, failed: 2 },
      errorCodes: { overloaded: 2 },
    };
    await writeManifest(batch, await summaryOf(batchId));
    const text = await readFile(batch.manifestFile, 'utf8');
    expect(text.endsWith('}\n')).toBe(true);
    expect(JSON.parse(text)).toMatchObject({
      batchId,
      name: 'nachts 🌙',
      status: 'in_progress',
      stoppedBy: null,
      input: { file: batch.inputFile, sha256: batch.inputSha256, lines: 3 },
      counts: { total: 3, completed: 1, failed: 2 },
      errorCodes: { overloaded: 2 },
      attempts: { total: 3, byOutcome: { completed: 1, failed: 1, unknown: 1 }, byErrorCode: { overloaded: 1 } },
      models: [{ requested: 'fast', resolved: 'deepseek-v4-pro', completed: 1 }],
      keys: [{ name: 'team-a', attempts: 3, costUsd: 0.004213 }],
      usage: { inputTokens: 100, outputTokens: 20, cachedTokens: 10, reasoningTokens: 5 },
      costUsd: 0.004213,
      possiblyBilled: 1,
      files: { output: batch.outputFile, errors: batch.errorFile },
    });
    expect(await readManifest(batch.manifestFile)).toMatchObject({ batchId, name: 'nachts 🌙', status: 'in_progress' });
  });

  it('says that a cost is unknown, not 0', async () => {
    const { record } = await createBatchWorld(redis, at);
    const summary = await summaryOf('batch_other');
    expect(manifestOf(await record(), { ...summary, costNanoUsd: null }).costUsd).toBeNull();
    expect([usd(null), usd(0n), usd(1n), usd(12_345_678_901n)]).toEqual([null, 0, 1e-9, 12.345678901]);
  });

  it('takes the place of the one before, whole, and leaves nothing beside it', async () => {
    const { batchId, record } = await createBatchWorld(redis, at);
    const batch = await record();
    const summary = await summaryOf(batchId);
    await writeManifest(batch, summary);
    const reader = await stat(batch.manifestFile);
    await writeManifest({ ...batch, status: 'completed' }, summary);
    // Replaced, not rewritten: who was reading the old one has it whole.
    expect((await stat(batch.manifestFile)).ino).not.toBe(reader.ino);
    expect(await readManifest(batch.manifestFile)).toMatchObject({ status: 'completed' });
    const mine = (await readdir(path.dirname(batch.manifestFile))).filter((name) => name.includes(batchId));
    expect(mine).toEqual([path.basename(batch.manifestFile)]);
  });

  it('is none where there is no file, and refused where it is another’s', async () => {
    expect(await readManifest(at('absent.manifest.json'))).toBeNull();
    for (const [index, text] of ['', '{', 'null', '[]', '{"batchId":5}', '{"batchId":"b","name":"n"}'].entries()) {
      const file = at(`${index}.manifest.json`);
      await writeFile(file, text);
      await expect(readManifest(file)).rejects.toMatchObject({
        code: 'input',
        message: /is no manifest of nightshift/,
      });
      await expect(readManifest(file)).rejects.toThrow(file);
    }
  });

  it('that cannot be read or written is named', async () => {
    const { record } = await createBatchWorld(redis, at);
    const batch = { ...(await record()), manifestFile: at('gone/x.manifest.json') };
    await expect(writeManifest(batch, await summaryOf('batch_none'))).rejects.toMatchObject({
      code: 'disk',
      message: expect.stringContaining(batch.manifestFile),
    });
    await mkdir(at('directory.manifest.json'));
    await expect(readManifest(at('directory.manifest.json'))).rejects.toMatchObject({
      code: 'input',
      message: /cannot read .*directory\.manifest\.json/,
    });
  });
});

describe('a file’s mark', () => {
  const markOf = async (file: string) => statMark(await openInput(file, { spoolDir: at('spool') }));

  test.each([
    ['written to', (file: string) => appendFile(file, '{}\n')],
    ['touched', (file: string) => utimes(file, 1, 1)],
    [
      'replaced by a file of the same size and time',
      async (file: string) => {
        const { mtime, atime } = await stat(file);
        await writeFile(`${file}.new`, '{"b":1}\n');
        await utimes(`${file}.new`, atime, mtime);
        await rename(`${file}.new`, file);
      },
    ],
  ])('changes when it is %s', async (what, change) => {
    const file = at(`mark ${what}.jsonl`);
    await writeFile(file, '{"a":1}\n');
    const before = await markOf(file);
    expect(await markOf(file)).toBe(before);
    await change(file);
    expect(await markOf(file)).not.toBe(before);
  });

  it('stays the same when only its permissions change', async () => {
    const file = at('permissions.jsonl');
    await writeFile(file, '{"a":1}\n');
    const before = await markOf(file);
    await chmod(file, 0o600);
    expect(await markOf(file)).toBe(before);
  });
});

test.each([0, 1, 200_000])('a file’s hash is that of its bytes: %i of them', async (size) => {
  const bytes = Buffer.alloc(size, 'täglich');
  await writeFile(at('hashed'), bytes);
  expect(await sha256OfFile(at('hashed'))).toBe(createHash('sha256').update(bytes).digest('hex'));
});

describe('the rate', () => {
  it('is unknown until something moved for a second', () => {
    const rate = createRate();
    expect(rate(0, 0)).toBeNull();
    expect(rate(5, 900)).toBeNull();
    expect(rate(10, 1000)).toBe(10);
  });

  it('is unknown while nothing moves', () => {
    const rate = createRate();
    for (const nowMs of [0, 1000, 2000, 120_000]) expect(rate(7, nowMs)).toBeNull();
  });

  it('is that of the last minute', () => {
    const rate = createRate();
    for (let s = 0; s <= 60; s += 1) rate(s * 100, s * 1000);
    let last: number | null = 0;
    for (let s = 61; s <= 130; s += 1) last = rate(6000 + (s - 60), s * 1000);
    expect(last).toBeCloseTo(1);
  });
});

describe('progress in words', () => {
  it('says how far a batch is and what came of it', async () => {
    const { record } = await createBatchWorld(redis, at, { name: 'nachts', total: 1200 });
    const batch = {
      ...(await record()),
      counts: { completed: 1000, failed: 12 },
      inputTokens: 20_000,
      outputTokens: 345,
      spentNanoUsd: 1_230_000_000,
    };
    const said = describeProgress(batch);
    for (const part of ['nachts', '1,012', '1,200', '84 %', '12 failed', '20,345 tokens', '$1.23']) {
      expect(said).toContain(part);
    }
    expect(describeProgress({ ...batch, counts: { completed: 1199, failed: 0 } })).toContain('99 %');
    expect(describeProgress({ ...batch, counts: { completed: 0, failed: 0 }, total: 0 })).toContain('0 %');
    expect(describeProgress({ ...batch, counts: { completed: 5, failed: 0 } })).not.toContain('failed');
  });
});
