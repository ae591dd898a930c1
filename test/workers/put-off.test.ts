/** Lines that a provider wants to see again only after a long while. */
import { expect, test } from 'vitest';
import { enqueue, jobIdOf } from '../../jobs/completion.ts';
import { redisTimeMs } from '../../src/redis/time.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { startBatch } from './running-batch.ts';
import { startWholeWorker } from './whole-worker.ts';

const redis = testRedis();
const { client, names } = redis;

/** A worker whose provider answers the first call with a 503 that names a time. */
async function refusedFor(seconds: number, batch: { total?: number; deadlineMs?: number } = {}) {
  const { queue, simulator, worker } = await startWholeWorker(redis, { min: 1, max: 2 });
  simulator.control({
    change: 'set_faults',
    faults: [{ kind: 'status', status: 503, headers: { 'retry-after': String(seconds) }, times: 1 }],
  });
  const { batchId } = await startBatch(client, names, batch);
  const text = Array.from({ length: batch.total ?? 1 }, () => '{"prompt":"Is it there again?"}').join('\n');
  const payload = { batchId, firstLine: 1, text };
  await enqueue(queue, [payload]);
  const jobId = jobIdOf(payload);
  let rounds = 0;
  /** The queue has the job back, once more. */
  const handedBack = () => {
    rounds += 1;
    return waitFor(
      async () => {
        const job = await queue.getJob(jobId);
        return !job || (job.attemptsStarted >= rounds && (await job.isDelayed()));
      },
      { what: `the job is handed back ${rounds} times` },
    );
  };
  await handedBack();
  return {
    batchId,
    simulator,
    worker,
    queue,
    jobId,
    handedBack,
    takeNow: async () => (await queue.getJob(jobId))?.promote(),
    attempts: () => client.hgetall(names.attempts(batchId)),
    completed: async () => Number(await client.hget(names.batch(batchId), 'completed')),
  };
}

const timeOf = (attempts: Record<string, string>) => {
  const [, time] = Object.entries(attempts).find(([field]) => field.endsWith('notBefore')) ?? [];
  return Number(time);
};

test('a line that a provider wants to see again in ten minutes is not sent before, though its job comes back sooner', async () => {
  const line = await refusedFor(600, { total: 2 });
  expect(await line.completed()).toBe(1);
  expect(line.simulator.truth().totals.calls).toBe(2);
  for (let round = 0; round < 2; round += 1) {
    await line.takeNow();
    await line.handedBack();
  }
  expect(line.simulator.truth().totals.calls).toBe(2);
  const leftMs = timeOf(await line.attempts()) - (await redisTimeMs(client));
  expect(leftMs).toBeGreaterThan(540_000);
  expect(leftMs).toBeLessThanOrEqual(600_000);
});

test('when its time has come it is sent, and nothing of the time is left', async () => {
  const line = await refusedFor(90);
  const field = Object.keys(await line.attempts()).find((name) => name.endsWith('notBefore'));
  expect(field).toBeDefined();
  await client.hset(names.attempts(line.batchId), String(field), (await redisTimeMs(client)) - 1);
  await line.takeNow();
  await waitFor(async () => (await line.completed()) === 1, { what: 'the line is completed' });
  expect(await line.attempts()).toEqual({});
  expect(line.simulator.truth().totals.calls).toBe(2);
});

test('no line is put off beyond its batch\u2019s deadline', async () => {
  const line = await refusedFor(7200, { deadlineMs: 120_000 });
  const leftMs = timeOf(await line.attempts()) - (await redisTimeMs(client));
  expect(leftMs).toBeGreaterThan(60_000);
  expect(leftMs).toBeLessThanOrEqual(120_001);
});
