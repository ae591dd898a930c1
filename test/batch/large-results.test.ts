/** Results of megabytes each (images, log probabilities), more of them than a process has memory for. */
import path from 'node:path';
import { expect, test } from 'vitest';
import { startProcess } from '../support/process.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { createBatchWorld, expectedFiles, testDirectory, type Result } from './world.ts';

const redis = testRedis();
const at = testDirectory();
const mega = 1024 * 1024;

const large = (count: number, chars = mega): Result[] =>
  Array.from({ length: count }, (_, index) => ({
    to: index % 5 === 4 ? 'e' : 'o',
    text: JSON.stringify({ index, text: 'a'.repeat(chars) }),
  }));
const small = (count: number): Result[] => Array.from({ length: count }, (_, n) => ({ to: 'o', text: `{"n":${n}}` }));

test('a backlog of large results that would not fit into memory is collected', async () => {
  const batch = await createBatchWorld(redis, at);
  const results = large(100);
  await batch.add(results);
  const collector = path.join(import.meta.dirname, 'collector-process.ts');
  const child = startProcess(['--max-old-space-size=70', collector, redis.url, redis.namespace, batch.batchId]);
  let isOver = false;
  void child.ended.then(() => (isOver = true));
  const isCollected = async () => isOver || (await batch.record()).collected.lines === results.length;
  await waitFor(isCollected, { timeoutMs: 30_000, what: 'all of them are collected' });
  expect(child.stderr()).toBe('');
  await child.kill();
  expect(await batch.files()).toEqual(expectedFiles(results));
});

test('what is written at once is short, though the results before were shorter: one at least, and none twice', async () => {
  const batch = await createBatchWorld(redis, at);
  const collector = await batch.collector();
  const results = [...small(1500), ...large(40), ...large(1, 20 * mega), ...small(1500)];
  await batch.add(results);
  const lengths = results.map(({ text }) => text.length);
  let collected = 0;
  for (;;) {
    const added = await collector.collectOnce(0);
    if (added === 0) break;
    const chars = lengths.slice(collected, collected + added).reduce((sum, length) => sum + length, 0);
    if (added > 1) expect(chars).toBeLessThanOrEqual(16 * mega);
    collected += added;
  }
  expect(await batch.files()).toEqual(expectedFiles(results));
  expect(await redis.client.xlen(redis.names.results(batch.batchId))).toBe(0);
});

test('small results are written a thousand at once', async () => {
  const batch = await createBatchWorld(redis, at);
  const collector = await batch.collector();
  await batch.add(small(2500));
  await collector.collectOnce(0);
  expect(await collector.collectOnce(0)).toBe(1000);
});
