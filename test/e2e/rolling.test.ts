import { expect, onTestFinished, test } from 'vitest';
import { Redis } from 'ioredis';
import { createNames } from '../../src/redis/names.ts';
import type { TestProcess } from '../support/process.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { waitFor } from '../support/wait.ts';
import {
  countByOutcome,
  createWorld,
  endOf,
  expectExit,
  ledgerAndTruth,
  readLedger,
  readResults,
  writeInput,
  type World,
} from './support.ts';

async function startWorker(world: World): Promise<TestProcess> {
  const worker = world.start(['worker', '--concurrency', '10']);
  await worker.waitForOutput(/Worker .* 10 calls at once/);
  return worker;
}

async function createSite() {
  const server = await startRedisServer();
  const client = new Redis(server.url, { lazyConnect: true });
  onTestFinished(async () => {
    client.disconnect();
    await server.stop();
  });
  // Slow until the workers are exchanged, then quick.
  const world = await createWorld({ scenario: { latencyMs: { min: 300, max: 600 } }, redisUrl: server.url });
  return { world, client };
}

const hurry = (world: World) => world.simulator.control({ change: 'set_latency', latencyMs: { min: 1, max: 5 } });

const run = ['run', 'in.jsonl', '--out', 'out', '--no-worker'];
const names = createNames('nightshift');
const queue = `${names.queuePrefix}:completions`;

/** Jobs that the queue takes to be in the hands of a worker that is gone: they would wait for their locks' end. */
async function orphans(client: Redis): Promise<string[]> {
  const workerIds = await client.zrange(names.workers, '0', '-1');
  const tokens = (await Promise.all(workerIds.map((id) => client.hkeys(names.worker(id))))).flat();
  const jobIds = await client.lrange(`${queue}:active`, 0, -1);
  const locks = await Promise.all(jobIds.map((id) => client.get(`${queue}:${id}:lock`)));
  return jobIds.filter((_, at) => locks[at] && !tokens.some((token) => locks[at]?.startsWith(token)));
}

test('three workers are restarted one after the other under load: nothing is lost, doubled or waited for', async () => {
  const { world, client } = await createSite();
  const ids = writeInput(world, { count: 1500 });
  const workers = [await startWorker(world), await startWorker(world), await startWorker(world)];
  const producing = world.start(run);
  await world.untilCalls(100, producing);
  for (const old of workers) {
    old.child.kill('SIGTERM');
    expectExit(await endOf(old), 0);
    expect(await orphans(client)).toEqual([]);
    await startWorker(world);
    const { calls } = world.truth().totals;
    await world.untilCalls(calls + 50, producing);
  }
  hurry(world);
  expectExit(await endOf(producing), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  // Every call was one line's only one.
  expect(world.truth().totals).toMatchObject({ calls: ids.length, answered: ids.length });
  expect(countByOutcome(readLedger(world))).toEqual({ completed: ids.length });
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
  expect(await client.llen(`${queue}:active`)).toBe(0);
});

test('three workers are killed one after the other under load: their jobs are taken up at once', async () => {
  const { world, client } = await createSite();
  const ids = writeInput(world, { count: 1500 });
  const workers = [await startWorker(world), await startWorker(world), await startWorker(world)];
  const producing = world.start(run);
  await world.untilCalls(100, producing);
  for (const old of workers) {
    await old.kill('SIGKILL');
    await startWorker(world);
    await waitFor(async () => (await client.zcard(names.workers)) === 3, { what: 'the dead worker is buried' });
    expect(await orphans(client)).toEqual([]);
  }
  hurry(world);
  expectExit(await endOf(producing), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const { completed = 0, unknown = 0, ...others } = countByOutcome(readLedger(world));
  expect({ completed, others }).toEqual({ completed: ids.length, others: {} });
  // A call in flight dies with its worker, ten at most in each.
  expect(unknown).toBeLessThanOrEqual(30);
  expect(world.truth().totals.calls).toBeLessThanOrEqual(completed + unknown);
});
