/** Jobs beyond a worker's places, where those in hand hold few lines that are to be sent. */
import { expect, test } from 'vitest';
import { enqueue } from '../../jobs/completion.ts';
import { createTurns } from '../../jobs/turns.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { startBatch } from './running-batch.ts';
import { startWholeWorker } from './whole-worker.ts';

const redis = testRedis();
const { client, names } = redis;

// Sent evenly by a key whose limit is to be learnt, calls overlap as they last longer.
test('a worker of five calls and two places makes five calls at once, also of jobs with one line each', async () => {
  const { queue, simulator } = await startWholeWorker(redis, { min: 800, max: 800 });
  const total = 12;
  const { batchId } = await startBatch(client, names, { total });
  const text = '{"prompt":"Who else is awake?"}';
  const payloads = Array.from({ length: total }, (_, index) => ({ batchId, firstLine: index * 25 + 1, text }));
  const turns = createTurns(client, names, queue, 'normal');
  await enqueue(queue, payloads, await turns.take(payloads.map(() => 1)));
  const completed = async () => Number(await client.hget(names.batch(batchId), 'completed'));
  await waitFor(async () => (await completed()) === total, { timeoutMs: 20_000, what: 'all lines are completed' });
  expect(simulator.truth().totals.calls).toBe(total);
  expect(Object.values(simulator.truth().keys)[0]?.maxInFlight).toBe(5);
  // Nor does anything stay in the queue that a guest has ended.
  await waitFor(async () => (await queue.getJobCountByTypes('active', 'prioritized', 'delayed', 'wait')) === 0);
});
