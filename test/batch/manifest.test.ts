/** What a manifest on disk proves about the files beside it. */
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { BatchRecord, BatchStatus } from '../../src/batch/batch.ts';
import { readWholeFiles, writeManifest } from '../../src/batch/manifest.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import { testRedis } from '../support/redis.ts';
import { createBatchWorld, testDirectory } from './world.ts';

const redis = testRedis();
const at = testDirectory();

/** Written as a run writes it: 100 lines, all ended; so many of them are in the files. */
async function written(change: { status: BatchStatus; collectedLines: number; completed?: number }): Promise<string> {
  const batch = await createBatchWorld(redis, at);
  const store = openSqliteLedger(':memory:');
  const record: BatchRecord = {
    ...(await batch.record()),
    status: change.status,
    counts: { completed: change.completed ?? 90, failed: 10 },
    collected: { streamId: '5-0', lines: change.collectedLines, outputBytes: 900, errorBytes: 50 },
  };
  await writeManifest(record, await store.batchSummary(batch.batchId));
  await store.close();
  return record.manifestFile;
}

/** As versions wrote it that did not say how many lines the files hold. */
async function ofEarlierVersion(file: string): Promise<string> {
  const manifest = JSON.parse(await readFile(file, 'utf8')) as { files: { lines?: number } };
  delete manifest.files.lines;
  await writeFile(file, JSON.stringify(manifest));
  return file;
}

const whole = { completed: 90, failed: 10, outputBytes: 900, errorBytes: 50 };

test.each<[BatchStatus, number, object | null]>([
  ['in_progress', 100, null],
  ['cancelling', 100, whole],
  // Its lines have ended, and the results of some are still in Redis.
  ['cancelling', 60, null],
  ['cancelling', 0, null],
  ['finalizing', 100, whole],
  ['completed', 100, whole],
  ['cancelled', 100, whole],
  ['cancelled', 99, null],
])('a manifest of a batch that is %s with %i of 100 lines in its files says whether they are whole', async (...row) => {
  const [status, collectedLines, expected] = row;
  expect(await readWholeFiles(await written({ status, collectedLines }))).toEqual(expected);
});

test('lines that have not ended are in no file, whatever is in the files', async () => {
  const file = await written({ status: 'cancelling', collectedLines: 100, completed: 89 });
  expect(await readWholeFiles(file)).toBeNull();
});

test.each<[BatchStatus, object | null]>([
  // Written before the results were collected as well as after it.
  ['cancelling', null],
  ['finalizing', whole],
  ['completed', whole],
  ['cancelled', whole],
])('a manifest of an earlier version, of a batch that is %s, proves what its status proves', async (...row) => {
  const [status, expected] = row;
  const file = await ofEarlierVersion(await written({ status, collectedLines: 100 }));
  expect(await readWholeFiles(file)).toEqual(expected);
});

test('a manifest that is not there, or is none, proves nothing', async () => {
  expect(await readWholeFiles(at('nowhere.manifest.json'))).toBeNull();
  await writeFile(at('torn.manifest.json'), '{"status":"cancelled"');
  expect(await readWholeFiles(at('torn.manifest.json'))).toBeNull();
});

test('a manifest that several processes write at once is whole, and nothing is left beside it', async () => {
  const batch = await createBatchWorld(redis, at);
  const store = openSqliteLedger(':memory:');
  onTestFinished(() => store.close());
  const [record, ledger] = [await batch.record(), await store.batchSummary(batch.batchId)];
  await Promise.all(Array.from({ length: 20 }, () => writeManifest(record, ledger)));
  expect(JSON.parse(await readFile(record.manifestFile, 'utf8'))).toMatchObject({ batchId: batch.batchId });
  expect(await besides(record)).toEqual([]);
});

test('what a killed process left of a manifest is removed later, and what may still be written stays', async () => {
  const batch = await createBatchWorld(redis, at);
  const store = openSqliteLedger(':memory:');
  onTestFinished(() => store.close());
  const record = await batch.record();
  const hidden = `.${path.basename(record.manifestFile)}`;
  const [old, older, fresh, other] = [
    `${hidden}.0a1b2c3d4e5f.tmp`,
    `${hidden}.tmp`,
    `${hidden}.f5e4d3c2b1a0.tmp`,
    `.x${hidden}.tmp`,
  ];
  for (const name of [old, older, fresh, other]) await writeFile(at(name), '{');
  const yesterday = new Date(Date.now() - 86_400_000);
  for (const name of [old, older, other]) await utimes(at(name), yesterday, yesterday);
  await writeManifest(record, await store.batchSummary(batch.batchId));
  expect((await besides(record)).toSorted()).toEqual([other, fresh].toSorted());
});

async function besides({ manifestFile }: BatchRecord): Promise<string[]> {
  const names = await readdir(path.dirname(manifestFile));
  return names.filter((name) => name.includes(`.${path.basename(manifestFile)}.`));
}
