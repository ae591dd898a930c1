/** A producer whose jobs are gone from the queue, of a batch that may be another process' by now. */
import { writeFile } from 'node:fs/promises';
import { expect, onTestFinished, test } from 'vitest';
import { createQueue } from '../../jobs/completion.ts';
import { openInput } from '../../src/batch/input.ts';
import { refuseOvertaken } from '../../src/batch/lease.ts';
import { createLog } from '../../src/log.ts';
import { startProducing } from '../../workers/producing.ts';
import { createBatchWorld, testDirectory } from '../batch/world.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';

const redis = testRedis();
const { client, names } = redis;
const at = testDirectory();

async function startWorld() {
  const batch = await createBatchWorld(redis, at, { total: 3 });
  const record = await batch.record();
  await writeFile(record.inputFile, '{"custom_id":"a"}\n{"custom_id":"b"}\n{"custom_id":"c"}\n');
  const messages: string[] = [];
  const log = createLog('warn', { write: (line: string) => void messages.push(JSON.parse(line).msg) });
  const { port, hostname: host } = new URL(redis.url);
  const queue = createQueue({ host, port: Number(port) }, names);
  // The other test's job.
  await queue.drain(true);
  const stop = new AbortController();
  onTestFinished(async () => {
    stop.abort();
    await queue.close();
  });
  await batch.lease('host 1 ours');
  const assertOurs = async () => {
    const [holder = null, last = null] = await client.mget(names.lease(batch.batchId), names.lastHolder(batch.batchId));
    refuseOvertaken(batch.batchId, { token: 'host 1 ours', epoch: 1 }, { holder, last });
  };
  const input = await openInput(record.inputFile, { spoolDir: at('spool') });
  const of = { redis: client, names, input, log, assertOurs, sweepEveryMs: 20 };
  const producing = startProducing(of, record, queue, stop.signal);
  const jobs = () => queue.getJobCountByTypes('wait', 'prioritized', 'delayed');
  await waitFor(async () => (await jobs()) === 1, { what: 'the lines are enqueued' });
  return { batch, messages, producing, queue, jobs };
}

test('a job that the queue lost is enqueued again by the batch\u2019s holder, who says so', async () => {
  const { messages, producing, queue, jobs } = await startWorld();
  await queue.drain(true);
  await waitFor(async () => (await jobs()) === 1, { what: 'it is enqueued again' });
  expect(messages).toContain('the queue lost a job; enqueued again');
  expect(producing.error).toBeNull();
});

test('a job that is gone since another process took the batch over is no loss, and is left to that one', async () => {
  const { batch, messages, producing, queue, jobs } = await startWorld();
  await batch.lease('host 2 theirs');
  await queue.drain(true);
  await waitFor(() => producing.error !== null, { what: 'the producer stops' });
  expect(producing.error).toMatchObject({ code: 'usage', message: expect.stringContaining('(process 2 on host)') });
  expect(messages).toEqual([]);
  expect(await jobs()).toBe(0);
});
