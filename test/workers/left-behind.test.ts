/** Calls of a living worker that an error has left behind are given up, and their lines go on; no others are. */
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { enqueue } from '../../jobs/completion.ts';
import type { Key } from '../../src/keys/keyring.ts';
import { createAcquire, type AcquireRequest } from '../../src/keys/limiter.ts';
import type { Names } from '../../src/redis/names.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { startBatch } from './running-batch.ts';
import { startSmallWorkers } from './small-worker.ts';
import { startWholeWorker } from './whole-worker.ts';

const redis = testRedis();
const { client, names } = redis;

function requestOf(batchId: string, line: number, key: Key): AcquireRequest {
  return {
    batchId,
    line,
    attemptId: `${batchId}-${line}.lost`,
    customId: `line-${line}`,
    requestedModel: 'fast',
    candidates: [{ key, model: 'some-model' }],
    estimatedTokens: 10,
    estimatedCostNanoUsd: 0,
    waitingSinceMs: performance.now(),
  };
}

async function outcomes(batchId: string, into: Names = names): Promise<unknown[]> {
  const entries = await client.xrange(into.ledger(batchId), '-', '+');
  // Those that were settled together are fields of one entry.
  const rows = entries.flatMap(([, fields]) => fields.filter((_, index) => index % 2 === 1));
  return rows.map((row) => (JSON.parse(row) as { outcome: unknown }).outcome);
}

const completed = (batchId: string) => client.hget(names.batch(batchId), 'completed');
const text = '{"prompt":"Is anybody there?"}';

test('a line whose last call this living worker has left behind is sent again, and the call is possibly billed', async () => {
  const { worker, queue, key } = await startWholeWorker(redis, { min: 1, max: 2 });
  const { batchId } = await startBatch(client, names);
  const acquire = createAcquire({ redis: client, names, workerId: worker.workerId });
  expect(await acquire(requestOf(batchId, 1, key))).toMatchObject({ tag: 'slot', waitMs: 0 });
  await enqueue(queue, [{ batchId, firstLine: 1, text }]);
  await waitFor(async () => (await completed(batchId)) === '1', { timeoutMs: 4000, what: 'the line is completed' });
  expect(await outcomes(batchId)).toEqual(['unknown', 'completed']);
  expect(await client.hlen(names.inflight)).toBe(0);
});

test('a call that is under way in this process is not given up by another job with the same line', async () => {
  const { queue, simulator } = await startWholeWorker(redis, { min: 600, max: 700 });
  const { batchId } = await startBatch(client, names, { total: 2 });
  await enqueue(queue, [{ batchId, firstLine: 1, text: `${text}\n${text}` }]);
  await waitFor(() => simulator.truth().totals.calls === 2, { what: 'both lines are under way' });
  await enqueue(queue, [{ batchId, firstLine: 2, text }]);
  await waitFor(async () => (await completed(batchId)) === '2', { what: 'both lines are completed' });
  expect(await outcomes(batchId)).toEqual(['completed', 'completed']);
  expect(simulator.truth().totals.calls).toBe(2);
});

test('a worker looks for what an error of its own has left behind, also where the line is another\u2019s now', async () => {
  const { names: own, workers } = await startSmallWorkers(redis.url);
  const { ctx, roster } = workers[0]!;
  const admin = new Redis(redis.url);
  onTestFinished(() => admin.disconnect());
  const { batchId } = await startBatch(client, own, { total: 2 });
  const request = (line: number) => requestOf(batchId, line, ctx.keyring.keys[0] as Key);
  const failed = ctx.attempts.during(request(1).attemptId, async () => {
    await ctx.acquire(request(1));
    throw new Error('settled in vain');
  });
  await expect(failed).rejects.toThrow('settled in vain');
  await ctx.attempts.during(request(2).attemptId, async () => {
    await ctx.acquire(request(2));
    await roster.recoverInTurn();
    // The one that is under way stays.
    expect(await admin.hkeys(own.inflight)).toEqual([`${batchId}-2`]);
  });
  expect(await outcomes(batchId, own)).toEqual(['unknown']);
});
