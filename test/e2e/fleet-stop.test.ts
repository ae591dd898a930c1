/** A run without a worker that ends before its batch: workers elsewhere hear of it, and so does whoever asks. */
import { rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect, test } from 'vitest';
import { testRedis, type TestRedis } from '../support/redis.ts';
import { mountSmallDisk } from '../support/small-disk.ts';
import { waitFor } from '../support/wait.ts';
import {
  createWorld,
  endOf,
  expectExit,
  ledgerAndTruth,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
  type World,
} from './support.ts';

/** Each test its own, so that the worker of one takes nothing of another. */
const places = [testRedis(), testRedis(), testRedis()] as const;
const run = ['run', 'in.jsonl', '--out', 'out', '--no-worker', '--json'];

async function createFleet({ url, namespace }: TestRedis, count: number, latencyMs: { min: number; max: number }) {
  const world = await createWorld({ redisUrl: url, config: { namespace }, scenario: { latencyMs, outputTokens: 40 } });
  const ids = writeInput(world, { count });
  const worker = world.start(['worker', '--concurrency', '5']);
  await worker.waitForOutput(/Worker .* 5 calls at once/);
  const stopWorker = async () => {
    worker.child.kill('SIGTERM');
    expectExit(await endOf(worker), 0);
  };
  return { world, ids, stopWorker };
}

async function statusOf(world: World) {
  const { stdout } = await world.nightshift(['status', 'in', '--json']);
  return JSON.parse(stdout) as { status: string; stopped_by: unknown };
}

const untilQuiet = (world: World) =>
  waitFor(() => world.truth().totals.inFlight === 0, { what: 'the worker has stopped sending' });

test('a run whose disk is full pauses its batch, so that workers elsewhere stop sending', async ({ skip }) => {
  const { world, ids, stopWorker } = await createFleet(places[0], 400, { min: 10, max: 30 });
  if (!mountSmallDisk(world.file('out'), 256)) skip();
  const ballast = world.file('out/ballast');
  writeFileSync(ballast, Buffer.alloc(220 * 1024));
  const full = await world.nightshift(run);
  expectExit(full, 5);
  const stop = { code: 'disk', cause: expect.stringContaining('in.output.jsonl: the disk is full') };
  expect(summaryOf(full)).toMatchObject({ status: 'paused', stoppedBy: stop });
  expect(await statusOf(world)).toMatchObject({ status: 'paused', stopped_by: summaryOf(full).stoppedBy });
  await untilQuiet(world);
  expect(world.truth().totals.calls).toBeLessThan(ids.length);

  // Still full: whatever fails now, the manifest perhaps, the batch does not run on without a collector.
  const { calls } = world.truth().totals;
  const still = await world.nightshift(run);
  expectExit(still, 5);
  expect(summaryOf(still)).toMatchObject({ status: 'paused', stoppedBy: { code: 'disk' } });
  await untilQuiet(world);
  expect(world.truth().totals.calls - calls).toBeLessThan(ids.length / 2);

  rmSync(ballast);
  expectExit(await world.nightshift(run), 0);
  await stopWorker();
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(ids.length);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('a run whose output directory is taken away pauses its batch, and says so in its object', async () => {
  const { world, ids, stopWorker } = await createFleet(places[1], 300, { min: 20, max: 60 });
  const running = world.start([...run, '--name', 'gone']);
  await world.untilCalls(60, running);
  rmSync(world.file('out'), { recursive: true, force: true });
  const ended = await endOf(running);
  expect(ended.stderr).toContain('gone.output.jsonl');
  expect(summaryOf(ended)).toMatchObject({
    status: 'paused',
    stoppedBy: { code: expect.stringMatching(/disk|input/) },
  });
  expect(ended.code).toBe(summaryOf(ended).stoppedBy?.code === 'disk' ? 5 : 2);
  await untilQuiet(world);
  await stopWorker();
  expect(world.truth().totals.calls).toBeLessThan(ids.length);
});

test('a run that was stopped while another process finished its batch says who took it over, and how it stands', async () => {
  const { client, names } = places[2];
  const { world, ids, stopWorker } = await createFleet(places[2], 150, { min: 20, max: 60 });
  const asleep = world.start(run);
  await world.untilCalls(30, asleep);
  const { batchId } = await waitFor(() => readManifest(world));
  asleep.child.kill('SIGSTOP');
  // As after the lease's time; what it may have sent before it stopped has been answered by then.
  await client.ping();
  await client.del(names.lease(batchId));
  const other = world.start(run);
  expectExit(await endOf(other), 0);
  expect(await client.exists(names.lease(batchId))).toBe(0);

  asleep.child.kill('SIGCONT');
  const ended = await endOf(asleep);
  expectExit(ended, 2);
  const by = `another process took ${batchId} over (process ${other.pid} on ${hostname()})`;
  expect(ended.stderr).toMatch(/^nightshift: another process took .*; see it with: nightshift status\n$/);
  expect(ended.stderr).toContain(by);
  expect(summaryOf(ended)).toMatchObject({
    status: 'completed',
    counts: { total: 150, completed: 150, failed: 0 },
    stoppedBy: { code: 'usage', cause: expect.stringContaining(by) },
  });
  await stopWorker();
  expect(readResults(world, ids).errors).toEqual([]);
  expect(readManifest(world).status).toBe('completed');
});
