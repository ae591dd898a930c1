import { afterAll, describe, expect, it, test } from 'vitest';
import { createQueue, enqueue, isLost, jobIdOf, payloadSchema } from '../../jobs/completion.ts';
import { newBatchId } from '../../src/batch/batch.ts';
import { testRedis } from '../support/redis.ts';

const { url, names, client } = testRedis();
const queue = createQueue({ url }, names);
afterAll(() => queue.close());

const payload = (batchId: string, firstLine: number, text = '{"prompt":"Hi"}\n\n{"prompt":"Ho"}') => ({
  batchId,
  firstLine,
  text,
});

describe('a completion job', () => {
  it('carries its lines as they stand in the file', async () => {
    const data = payload(newBatchId(), 26, ' {"prompt":"Grüße 🌊\\n"}\r\n\n\u001a{broken\u2028');
    await enqueue(queue, [data]);
    const job = await queue.getJob(jobIdOf(data));
    expect(job?.data).toEqual(data);
    expect(payloadSchema.parse(job?.data)).toEqual(data);
  });

  it('is one job, however often it is enqueued', async () => {
    const batchId = newBatchId();
    const before = await queue.count();
    await enqueue(queue, [payload(batchId, 1), payload(batchId, 26)]);
    await enqueue(queue, [payload(batchId, 1), payload(batchId, 51)]);
    await enqueue(queue, [payload(batchId, 1)]);
    expect((await queue.count()) - before).toBe(3);
  });

  it('has an id that is its batch’s and its line’s alone', () => {
    const batchId = newBatchId();
    expect(jobIdOf({ batchId, firstLine: 26 })).toBe(`${batchId}-26`);
    // BullMQ refuses a colon.
    expect(jobIdOf({ batchId, firstLine: 26 })).not.toContain(':');
  });

  it('stays in the queue’s own namespace', async () => {
    await enqueue(queue, [payload(newBatchId(), 1)]);
    const keys = await client.keys('*completions*');
    const ours = keys.filter((key) => key.includes(names.namespace));
    expect(ours.length).toBeGreaterThan(0);
    for (const key of ours) expect(key.startsWith(`{${names.namespace}}:completions:`)).toBe(true);
  });

  it('may be many at once, or none', async () => {
    const batchId = newBatchId();
    const before = await queue.count();
    await enqueue(queue, []);
    await enqueue(
      queue,
      Array.from({ length: 200 }, (_, index) => payload(batchId, index * 25 + 1)),
    );
    expect((await queue.count()) - before).toBe(200);
  });
});

describe('a job is lost', () => {
  it('when it was never there, or is gone', async () => {
    const data = payload(newBatchId(), 1);
    expect(await isLost(queue, data)).toBe(true);
    await enqueue(queue, [data]);
    expect(await isLost(queue, data)).toBe(false);
    await (await queue.getJob(jobIdOf(data)))?.remove();
    expect(await isLost(queue, data)).toBe(true);
  });

  it('but not while it waits for a later time', async () => {
    const data = payload(newBatchId(), 1);
    await queue.add('lines', data, { jobId: jobIdOf(data), delay: 3_600_000 });
    expect(await isLost(queue, data)).toBe(false);
  });
});

describe('a payload', () => {
  const good = payload('batch_ab', 1);
  test.each([
    ['without a batch', { firstLine: 1, text: '' }],
    ['without a line', { batchId: 'b', text: '' }],
    ['with line 0', { ...good, firstLine: 0 }],
    ['with half a line', { ...good, firstLine: 1.5 }],
    ['without text', { ...good, text: null }],
    ['with a field of another version', { ...good, attempts: 5 }],
  ])('is refused %s', (_, data) => {
    expect(payloadSchema.safeParse(data).success).toBe(false);
  });
});
