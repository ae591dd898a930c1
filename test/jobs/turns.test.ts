/** The order in which a worker gets the jobs of several batches, from a real queue. */
import { Worker } from 'bullmq';
import { expect, onTestFinished, test } from 'vitest';
import { batchOf, createQueue, enqueue, queueName, type CompletionPayload } from '../../jobs/completion.ts';
import { createTurns, noteTurn, priorityOf, turnOfScore } from '../../jobs/turns.ts';
import { newBatchId, type Priority } from '../../src/batch/batch.ts';
import { createNames } from '../../src/redis/names.ts';
import { testRedis } from '../support/redis.ts';

const redis = testRedis();
let sites = 0;

/** A queue of its own for each test. */
function createSite() {
  sites += 1;
  const names = createNames(`${redis.namespace}}${sites}`.replace('}', '-'));
  const queue = createQueue({ url: redis.url }, names);
  const worker = new Worker<CompletionPayload>(queueName, null, {
    connection: { url: redis.url },
    prefix: names.queuePrefix,
    autorun: false,
  });
  onTestFinished(async () => {
    await worker.close();
    await queue.obliterate({ force: true });
    await queue.close();
    await redis.client.del(names.turns);
  });
  const named = new Map<string, string>();
  return {
    names,
    queue,
    /** A batch, and a function that enqueues its next chunks, in each of which so many lines are to be sent. */
    begin: (name: string, priority: Priority = 'normal') => {
      const batchId = newBatchId();
      named.set(batchId, name);
      const turns = createTurns(redis.client, names, queue, priority);
      let line = 1;
      return async (chunks: number, linesEach = 25) => {
        const payloads = Array.from({ length: chunks }, () => ({ batchId, firstLine: line++, text: '{}' }));
        await enqueue(queue, payloads, await turns.take(payloads.map(() => linesEach)));
      };
    },
    /** Whose jobs come next. */
    serve: async (count: number): Promise<string[]> => {
      const served: string[] = [];
      for (let index = 0; index < count; index += 1) {
        const job = await worker.getNextJob('token', { block: false });
        if (!job) break;
        await noteTurn(redis.client, names, job.priority);
        await job.moveToCompleted(null, 'token', false);
        served.push(named.get(batchOf(String(job.id))) ?? '');
      }
      return served;
    },
  };
}

const countOf = (served: string[], name: string) => served.filter((one) => one === name).length;

test('the chunks of batches take turns, however many of the first one were there before', async () => {
  const { begin, serve } = createSite();
  const large = begin('large');
  await large(100);
  expect(await serve(30)).toEqual(Array.from({ length: 30 }, () => 'large'));
  const small = begin('small');
  await small(3);
  // The next turns, one each.
  expect(countOf(await serve(7), 'small')).toBe(3);
  const other = begin('other');
  await other(100);
  await large(50);
  const served = await serve(60);
  expect(countOf(served, 'other')).toBeGreaterThanOrEqual(29);
  expect(countOf(served, 'large')).toBeGreaterThanOrEqual(29);
});

test('the lines of batches take turns, however few of them are to be sent in a chunk', async () => {
  const { begin, serve } = createSite();
  await begin('large')(100);
  await serve(30);
  // As where 53 lines that lie scattered over a file are tried again.
  const scattered = begin('scattered');
  await scattered(20, 1);
  await scattered(33, 1);
  await begin('halves')(20, 12);
  // Three turns of each: 75 lines of the full chunks, and as many as begin in them of the others.
  const served = await serve(3 + 53 + 7);
  expect(countOf(served, 'large')).toBe(3);
  expect(countOf(served, 'scattered')).toBe(53);
  expect(countOf(served, 'halves')).toBe(7);
});

test('a batch that was idle gets no turns for the time that it was', async () => {
  const { begin, serve } = createSite();
  const [idle, busy] = [begin('idle'), begin('busy')];
  await idle(1);
  await busy(200);
  await serve(100);
  await idle(50);
  const served = await serve(40);
  expect(countOf(served, 'idle')).toBeLessThanOrEqual(21);
  expect(countOf(served, 'busy')).toBeGreaterThanOrEqual(19);
});

test('high goes before all others, low behind them, and those of one priority take turns', async () => {
  const { begin, serve } = createSite();
  const plan: [string, Priority, number][] = [
    ['low', 'low', 5],
    ['normal', 'normal', 5],
    ['high', 'high', 4],
    ['higher', 'high', 4],
  ];
  for (const [name, priority, chunks] of plan) await begin(name, priority)(chunks);
  const served = await serve(18);
  expect(served.slice(0, 8).toSorted()).toEqual([...Array(4).fill('high'), ...Array(4).fill('higher')]);
  expect(countOf(served.slice(0, 4), 'high')).toBe(2);
  expect(served.slice(8)).toEqual([...Array(5).fill('normal'), ...Array(5).fill('low')]);
});

test('with an empty queue the numbers begin anew', async () => {
  const { begin, serve, names, queue } = createSite();
  await begin('first')(40);
  await serve(40);
  expect(Number(await redis.client.zscore(names.turns, 'normal'))).toBeGreaterThan(500_000);
  await begin('second')(1);
  const [, score] = await redis.client.zrange(queue.toKey('prioritized'), '0', '0', 'WITHSCORES');
  const turn = turnOfScore(Number(score));
  expect(priorityOf(turn)).toBe('normal');
  expect(priorityOf(turn - 1)).toBe('high');
});
