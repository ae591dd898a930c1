/** Redis is away while answers come in, and is back on its append-only file; its scripts are forgotten meanwhile. */
import { expect, test } from 'vitest';
import { createWorld, endOf, expectExit, ledgerAndTruth, readResults, writeInput, type World } from '../e2e/support.ts';
import { waitFor } from '../support/wait.ts';
import { startServer } from './servers.ts';

const run = ['run', 'in.jsonl', '--out', 'out', '--concurrency', '20'];

/** Also at the provider: not a call was made twice. */
function expectEachLineOnce(world: World, ids: string[]): void {
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(ids.length);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
}

test('answers that come in while Redis is away are settled when it is back, by the run and by workers', async () => {
  const redis = await startServer();
  const redisUrl = `redis://127.0.0.1:${redis.port}`;
  const world = await createWorld({ redisUrl, scenario: { latencyMs: { min: 300, max: 800 } } });
  const ids = writeInput(world, { count: 200 });
  const worker = world.start(['worker', '--concurrency', '20']);
  await worker.waitForOutput(/Worker /);
  const running = world.start(run);
  await world.untilCalls(90, running);
  await redis.kill();
  const allAnswered = () => world.truth().totals.answered === world.truth().totals.calls;
  await waitFor(allAnswered, { what: 'the provider has answered what was in flight' });
  // By now every client has failed to reconnect several times.
  await running.waitForOutput(/Redis connection lost; reconnecting/);
  await waitFor(() => worker.stderr().includes('Redis connection lost'), { what: 'the worker has noticed' });
  await redis.start();
  expectExit(await endOf(running), 0);
  worker.child.kill('SIGTERM');
  expectExit(await endOf(worker), 0);
  expectEachLineOnce(world, ids);
});

test('SCRIPT FLUSH in mid-batch loses nothing', async () => {
  const redis = await startServer();
  const world = await createWorld({
    redisUrl: `redis://127.0.0.1:${redis.port}`,
    scenario: { latencyMs: { min: 5, max: 30 } },
  });
  const ids = writeInput(world, { count: 300 });
  const running = world.start(run);
  for (const calls of [40, 120, 200]) {
    await world.untilCalls(calls, running);
    await redis.ask('SCRIPT', 'FLUSH', 'SYNC');
  }
  expectExit(await endOf(running), 0);
  expectEachLineOnce(world, ids);
});
