/** Several batches at once on one key. What each got is counted by its lines, how long it took by the calls meanwhile. */
import { readFileSync, writeFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { listBatches } from '../../src/batch/find.ts';
import { createNames } from '../../src/redis/names.ts';
import type { TestProcess } from '../support/process.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { waitFor } from '../support/wait.ts';
import { createWorld, endOf, expectExit, readResults, writeInput, type World } from './support.ts';

const windowMs = 2000;
const rpm = 100;

type Site = World & {
  /** Lines of a batch that have ended; null: it has not begun. */
  done: (name: string) => Promise<number | null>;
  begin: (name: string, ...more: string[]) => Promise<TestProcess>;
};

async function createSite(): Promise<Site> {
  const server = await startRedisServer();
  const client = new Redis(server.url, { lazyConnect: true });
  onTestFinished(async () => {
    client.disconnect();
    await server.stop();
  });
  const world = await createWorld({ keys: [{ name: 'a', rpm }], windowMs, redisUrl: server.url });
  const done = async (name: string) => {
    const batch = (await listBatches(client, createNames('nightshift'))).find((one) => one.name === name);
    return batch && batch.status !== 'validating' ? batch.counts.completed + batch.counts.failed : null;
  };
  return {
    ...world,
    done,
    async begin(name, ...more) {
      const running = world.start(['run', `${name}.jsonl`, '--out', 'out', '--json', ...more]);
      await waitFor(async () => (await done(name)) !== null, { what: `${name} begins` });
      return running;
    },
  };
}

async function startWorker(world: World, concurrency = 400): Promise<void> {
  const worker = world.start(['worker', '--concurrency', String(concurrency)]);
  await worker.waitForOutput(/Worker .* calls at once/);
}

/** A batch that has the key to itself for a window, with lines for minutes. */
async function beginLarge(site: Site, ...more: string[]): Promise<TestProcess> {
  writeInput(site, { count: 5000, name: 'large.jsonl' });
  const large = await site.begin('large', ...more);
  await site.untilCalls(rpm, large);
  return large;
}

test('a small batch beside a large one is through after about a window', async () => {
  const site = await createSite();
  await startWorker(site);
  await beginLarge(site, '--no-worker');
  const ids = writeInput(site, { count: 40, name: 'small.jsonl' });
  const small = await site.begin('small', '--no-worker');
  const before = site.truth().totals.calls;
  await waitFor(async () => (await site.done('small')) === ids.length, { timeoutMs: 60_000, what: 'small is through' });
  // Windows are spent at once, as they come: one may pass before it is known of, and its share of the next is more than
  // it needs. The worker has four windows' worth of the large one's lines in hand.
  expect(site.truth().totals.calls - before).toBeLessThanOrEqual(3 * rpm);
  expectExit(await endOf(small), 0);
  readResults(site, ids, 'small');
});

/** As a batch is whose other lines are done: a job of twenty-five lines has one that is to be sent. */
function writeScattered(site: Site, count: number): string[] {
  const ids = writeInput(site, { count, name: 'scattered.jsonl' });
  const file = site.file('scattered.jsonl');
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll('\n', '\n'.repeat(25)));
  return ids;
}

test('a small batch of scattered lines gets as many calls as its neighbour, on a worker of few places', async () => {
  const site = await createSite();
  await startWorker(site, 50);
  await beginLarge(site, '--no-worker');
  const ids = writeScattered(site, 53);
  const scattered = await site.begin('scattered', '--no-worker');
  const before = site.truth().totals.calls;
  await waitFor(async () => (await site.done('scattered')) === ids.length, {
    timeoutMs: 60_000,
    what: 'it is through',
  });
  expect(site.truth().totals.calls - before).toBeLessThanOrEqual(3 * rpm);
  expectExit(await endOf(scattered), 0);
  readResults(site, ids, 'scattered');
});

test('two large batches, each run by its own process, share about evenly', async () => {
  const site = await createSite();
  await beginLarge(site);
  writeInput(site, { count: 5000, name: 'other.jsonl' });
  await site.begin('other');
  await waitFor(async () => ((await site.done('other')) ?? 0) > 0, { timeoutMs: 30_000, what: 'other gets anything' });
  const [large, other] = [(await site.done('large')) ?? 0, (await site.done('other')) ?? 0];
  const calls = site.truth().totals.calls;
  await waitFor(() => site.truth().totals.calls >= calls + 4 * rpm, { timeoutMs: 60_000, what: 'four windows' });
  const [more, otherMore] = [((await site.done('large')) ?? 0) - large, ((await site.done('other')) ?? 0) - other];
  expect(otherMore / (more + otherMore)).toBeGreaterThan(0.3);
  expect(otherMore / (more + otherMore)).toBeLessThan(0.7);
});

test.each([
  ['low', 'normal'],
  ['normal', 'high'],
])('a batch of priority %s gives way to one of priority %s', async (first, second) => {
  const site = await createSite();
  await beginLarge(site, '--priority', first);
  const ids = writeInput(site, { count: 2 * rpm, name: 'urgent.jsonl' });
  const urgent = await site.begin('urgent', '--priority', second);
  const before = (await site.done('large')) ?? 0;
  expectExit(await endOf(urgent), 0);
  const meanwhile = ((await site.done('large')) ?? 0) - before;
  // What it had reserved, and what went out before the other's lines were known of everywhere; its share would be 200.
  expect(meanwhile).toBeLessThanOrEqual(1.5 * rpm);
  readResults(site, ids, 'urgent');
  const { stdout } = await site.nightshift(['status', 'urgent', '--json']);
  expect(JSON.parse(stdout)).toMatchObject({ priority: second });
  // And then it goes on.
  await site.untilCalls(site.truth().totals.calls + rpm);
});
