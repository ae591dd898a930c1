/** What a manifest on disk proves about the files beside it. */
import { readFile, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
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
