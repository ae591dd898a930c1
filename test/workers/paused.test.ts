import path from 'node:path';
import { expect, test } from 'vitest';
import { enqueue, isLost } from '../../jobs/completion.ts';
import { createBatch, moveBatch, newBatchId } from '../../src/batch/batch.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { startWholeWorker } from './whole-worker.ts';

const redis = testRedis();
const { client, names } = redis;

test('a worker that has just dropped a paused batch\u2019s job takes the next one when the batch runs again', async () => {
  const { dir, queue, simulator } = await startWholeWorker(redis, { min: 1, max: 2 });
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
