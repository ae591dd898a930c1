/** A set-up that was killed before anything was sent. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createBatch, loadBatch, newBatchId, type BatchRecord } from '../../src/batch/batch.ts';
import { endDuplicates } from '../../src/batch/end-duplicates.ts';
import { statMark } from '../../src/batch/fingerprint.ts';
import { openInput } from '../../src/batch/input.ts';
import { writeManifest } from '../../src/batch/manifest.ts';
import { validateInput } from '../../src/batch/validate.ts';
import { createKeyring } from '../../src/keys/keyring.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import { testRedis } from '../support/redis.ts';
import { createWorld, expectExit, readManifest, readResults, summaryOf, type World } from './support.ts';

const { url, client, names, namespace } = testRedis();

const writeIds = (world: World, ids: string[]) =>
  writeFileSync(
    world.file('in.jsonl'),
    ids.map((id) => `${JSON.stringify({ custom_id: id, prompt: 'Why?', model: 'fast' })}\n`).join(''),
  );

/** What `run in.jsonl --out out --skip-invalid` leaves when it is killed right before the batch may run. */
async function killedAfterDuplicates(world: World): Promise<BatchRecord> {
  const spoolDir = world.file('.nightshift/spool');
  mkdirSync(world.file('out'));
  const input = await openInput(world.file('in.jsonl'), { spoolDir });
  const validation = await validateInput(input, { spoolDir, defaults: { model: null } });
  const store = openSqliteLedger(world.file('.nightshift/ledger.db'));
  const options = { model: null, attempts: 5, deadlineMs: 60_000, skipInvalid: true, pinModels: false, ordered: false };
  const batchId = newBatchId();
  await createBatch(client, names, batchId, {
    name: 'in',
    inputFile: input.path,
    outputFile: world.file('out/in.output.jsonl'),
    errorFile: world.file('out/in.errors.jsonl'),
    manifestFile: world.file('out/in.manifest.json'),
    inputSha256: validation.sha256,
    inputMark: statMark(input),
    ledgerId: store.id,
    total: validation.total,
    options,
    budgetNanoUsd: 5_000_000_000,
  });
  const load = async () => (await loadBatch(client, names, batchId)) as BatchRecord;
  await writeManifest(await load(), await store.batchSummary(batchId));
  const keyring = createKeyring({ keys: [], providers: {} });
  await endDuplicates({ redis: client, names, input, options, keyring }, await load(), validation);
  await store.close();
  return load();
}

test('a set-up that was killed is begun from nothing by the same command, though the file was mended meanwhile', async () => {
  const world = await createWorld({ redisUrl: url, config: { namespace } });
  writeIds(
    world,
    Array.from({ length: 80 }, (_, index) => (index % 2 === 1 ? 'same' : `old-${index}`)),
  );
  const killed = await killedAfterDuplicates(world);
  expect(killed).toMatchObject({ status: 'validating', counts: { failed: 39 } });

  const ids = Array.from({ length: 40 }, (_, index) => `new-${index}`);
  writeIds(world, ids);
  const run = await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--skip-invalid', '--json']);
  expectExit(run, 0);
  const counts = { total: 40, completed: 40, failed: 0 };
  expect(summaryOf(run)).toMatchObject({ batchId: killed.batchId, status: 'completed', counts });
  expect(readResults(world, ids).output).toHaveLength(40);
  expect(readFileSync(world.file('out/in.errors.jsonl'), 'utf8')).toBe('');
  expect(readManifest(world)).toMatchObject({ counts, errorCodes: {} });
  expect(world.truth().totals.calls).toBe(40);
  // Nor does it keep what the command before was told, and this one was not.
  expect((await loadBatch(client, names, killed.batchId))?.budgetNanoUsd).toBeNull();
});
