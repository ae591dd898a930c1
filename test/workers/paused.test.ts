import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createQueue, enqueue, isLost } from '../../jobs/completion.ts';
import { createBatch, moveBatch, newBatchId } from '../../src/batch/batch.ts';
import { loadConfig } from '../../src/config.ts';
import { createKeyring } from '../../src/keys/keyring.ts';
import { createLog } from '../../src/log.ts';
import { openRedis } from '../../src/redis/connect.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { startWorkerProcess } from '../../workers/process.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';

const redis = testRedis();
const { client, names } = redis;

test('a worker that has just dropped a paused batch\u2019s job takes the next one when the batch runs again', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-paused-'));
  const simulator = await createSimulator({
    scenario: { keys: [{ name: 'a', rpm: null }], latencyMs: { min: 1, max: 2 } },
  });
  const handle = await openRedis({ url: redis.url, dataDir: dir, log: createLog('silent') });
  const env = { PMIND_KEY: simulator.keys[0]?.token ?? '', PMIND_BASE_URL: simulator.baseUrl };
  const config = { ...loadConfig({ cwd: dir, env }), namespace: redis.namespace };
  const queue = createQueue(handle.connectionOptions, names);
  const log = createLog('silent');
  const worker = await startWorkerProcess({
    config,
    keyring: createKeyring(config),
    redis: handle,
    log,
    concurrency: 5,
  });
  onTestFinished(async () => {
    await worker.stop(1000);
    await queue.close();
    await handle.close();
    await simulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const batchId = newBatchId();
  const file = (suffix: string) => path.join(dir, suffix);
  await createBatch(client, names, batchId, {
    name: 'in',
    inputFile: file('in.jsonl'),
    outputFile: file('out'),
    errorFile: file('errors'),
    manifestFile: file('manifest'),
    inputSha256: '',
    inputMark: '',
    ledgerId: 'ledger',
    total: 2,
    options: { model: 'fast', attempts: 1, deadlineMs: 60_000, skipInvalid: false, pinModels: false, ordered: false },
    budgetNanoUsd: null,
  });
  await moveBatch(client, names, batchId, { from: ['validating'], to: 'paused' });
  const job = (firstLine: number) => ({ batchId, firstLine, text: '{"prompt":"Is it running?"}' });
  await enqueue(queue, [job(1)]);
  await waitFor(() => isLost(queue, job(1)), { what: 'the paused batch\u2019s job is dropped' });
  expect(simulator.truth().totals.calls).toBe(0);

  await moveBatch(client, names, batchId, { from: ['paused'], to: 'in_progress' });
  await enqueue(queue, [job(1), job(2)]);
  await waitFor(async () => (await client.hget(names.batch(batchId), 'completed')) === '2', { what: 'both lines end' });
});
