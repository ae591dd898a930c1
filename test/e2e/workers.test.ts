import { expect, onTestFinished, test } from 'vitest';
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

async function sharedRedis(): Promise<string> {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  return server.url;
}

async function startWorker(world: World) {
  const worker = world.start(['worker', '--concurrency', '10']);
  await worker.waitForOutput(/Worker .* 10 calls at once/);
  return worker;
}

const run = ['run', 'in.jsonl', '--out', 'out', '--no-worker'];

test('two workers share a batch that a third process produces and collects', async () => {
  const keys = [
    { name: 'a', rpm: 80 },
    { name: 'b', rpm: 60 },
  ];
  const world = await createWorld({ keys, redisUrl: await sharedRedis() });
  const ids = writeInput(world, { count: 270 });
  const workers = [await startWorker(world), await startWorker(world)];
  expectExit(await world.nightshift(run), 0);
  for (const worker of workers) {
    worker.child.kill('SIGTERM');
    expectExit(await endOf(worker), 0);
  }
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.answered).toBe(ids.length);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('a killed worker\u2019s lines are taken up by the other at once, each line once', async () => {
  const world = await createWorld({ scenario: { latencyMs: { min: 50, max: 150 } }, redisUrl: await sharedRedis() });
  const ids = writeInput(world, { count: 300 });
  const [victim, survivor] = [await startWorker(world), await startWorker(world)];
  const producing = world.start(run);
  await world.untilCalls(80, producing);
  await victim.kill('SIGKILL');
  expectExit(await endOf(producing), 0);
  survivor.child.kill('SIGTERM');
  expectExit(await endOf(survivor), 0);

  expect(readResults(world, ids).errors).toEqual([]);
  const { completed = 0, unknown = 0, ...others } = countByOutcome(readLedger(world));
  expect({ completed, others }).toEqual({ completed: ids.length, others: {} });
  const { calls } = world.truth().totals;
  // As in crash.test.ts: an `unknown` may be a call that was granted and not sent any more.
  expect(completed).toBeLessThanOrEqual(calls);
  expect(completed + unknown).toBeGreaterThanOrEqual(calls);
  expect(unknown).toBeLessThanOrEqual(10);
});

test('Ctrl-C of the run stops the workers’ sending, and the same command lets them go on', async () => {
  const scenario = { latencyMs: { min: 50, max: 150 } };
  const world = await createWorld({ scenario, redisUrl: await sharedRedis() });
  const ids = writeInput(world, { count: 300 });
  const worker = await startWorker(world);
  const producing = world.start(run);
  await world.untilCalls(60, producing);
  producing.child.kill('SIGINT');
  expectExit(await endOf(producing), 130);
  await waitFor(() => world.truth().totals.inFlight === 0, { what: 'the worker has stopped sending' });
  expect(world.truth().totals.calls).toBeLessThan(ids.length);
  expectExit(await world.nightshift(run), 0);
  worker.child.kill('SIGTERM');
  expectExit(await endOf(worker), 0);
  expect(readResults(world, ids).errors).toEqual([]);
});
