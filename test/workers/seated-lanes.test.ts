import { expect, onTestFinished, test } from 'vitest';
import type { Acquire } from '../../src/keys/limiter.ts';
import type { Key } from '../../src/keys/keyring.ts';
import { defaultCircuitRules } from '../../src/provider/circuit.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { createLanes } from '../../workers/lanes.ts';
import { runLine } from '../../workers/line.ts';
import { takeSeats } from '../../workers/seated-lanes.ts';
import { createSeats } from '../../workers/seats.ts';
import { testRedis } from '../support/redis.ts';
import { startBatch } from './running-batch.ts';
import { startSmallWorkers } from './small-worker.ts';

const redis = testRedis();

test('a line whose slot is void waits for its provider without a seat', async () => {
  const simulator = await createSimulator({ scenario: { keys: [{ name: 'a', rpm: null }] } });
  onTestFinished(() => simulator.close());
  const env = { PMIND_KEY: simulator.keys[0]?.token ?? '', PMIND_BASE_URL: simulator.baseUrl };
  const { names, workers } = await startSmallWorkers(redis.url, 1, env);
  const { ctx } = workers[0]!;
  const batch = await startBatch(ctx.redis, names, { total: 2 });
  const key = ctx.keyring.keys[0] as Key;
  await ctx.listings.get(key);

  const order: string[] = [];
  // While the first slot is granted, an answer closes its key and the provider's circuit opens for as long as it may.
  const acquire: Acquire = async (request) => {
    const reply = await ctx.acquire(request);
    order.push(`slot for ${request.line}`);
    if (request.line === 1 && !ctx.closedAtMs.has(key.keyId)) {
      ctx.closedAtMs.set(key.keyId, performance.now());
      const laterMs = performance.now() + defaultCircuitRules.longestPauseMs;
      const circuit = ctx.circuitOf(key.provider.name);
      for (let call = 0; call < defaultCircuitRules.failuresToOpen; call += 1) circuit.failed(laterMs, 'HTTP 503');
    }
    return reply;
  };
  const seats = createSeats(1);
  const lanes = createLanes(acquire, seats, { longestWaitMs: 1000, outdatedAfterMs: 10_000 });
  const stopping = new AbortController();
  const run = async (line: number) => {
    const start = { ctx: { ...ctx, stopping: stopping.signal }, batch, line, attemptsSpent: 0, held: null };
    const seated = takeSeats(lanes, seats, 1);
    const result = await runLine({ ...start, lanes: seated }, `{"prompt":"Line ${line}?"}`).finally(seated.leave);
    order.push(`${result.tag} ${line}`);
  };
  const [first, second] = [run(1), run(2)];
  await second;
  expect(order).toEqual(['slot for 1', 'slot for 2', 'ended 2']);
  stopping.abort();
  await first;
  expect(order.at(-1)).toBe('held 1');
  expect(seats.free()).toBe(1);
});
