/** The circuit's one trial: whoever has it and sends nothing gives it back. */
import { expect, onTestFinished, test } from 'vitest';
import type { Key } from '../../src/keys/keyring.ts';
import { defaultCircuitRules } from '../../src/provider/circuit.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { createLanes } from '../../workers/lanes.ts';
import { runLine } from '../../workers/line.ts';
import { createSeats } from '../../workers/seats.ts';
import { startServer } from '../redis/servers.ts';
import { startBatch } from './running-batch.ts';
import { startSmallWorkers } from './small-worker.ts';

test('a line whose slot a full Redis refuses gives the circuit\u2019s trial back', async () => {
  const server = await startServer();
  const simulator = await createSimulator({ scenario: { keys: [{ name: 'a', rpm: null }] } });
  onTestFinished(() => simulator.close());
  const env = { PMIND_KEY: simulator.keys[0]?.token ?? '', PMIND_BASE_URL: simulator.baseUrl };
  const { names, workers } = await startSmallWorkers(`redis://127.0.0.1:${server.port}`, 1, env);
  const { ctx } = workers[0]!;
  const batch = await startBatch(ctx.redis, names);
  const key = ctx.keyring.keys[0] as Key;
  expect(await ctx.listings.get(key)).toMatchObject({ tag: 'listing' });

  const circuit = ctx.circuitOf(key.provider.name);
  const { failuresToOpen, firstPauseMs } = defaultCircuitRules;
  // So long ago that its first trial is due.
  for (let call = 0; call < failuresToOpen; call += 1) circuit.failed(performance.now() - 2 * firstPauseMs, 'HTTP 503');
  await server.ask('CONFIG', 'SET', 'maxmemory', '1');
  const seats = createSeats(1);
  const lanes = createLanes(ctx.acquire, seats, { longestWaitMs: 1000, outdatedAfterMs: 10_000 });
  const line = { ctx, lanes, batch, line: 1, attemptsSpent: 0, held: null };
  await expect(runLine(line, '{"prompt":"Is there room?"}')).rejects.toThrow('OOM');
  expect(circuit.ask(performance.now())).toEqual({ tag: 'go' });
  expect(simulator.truth().totals.calls).toBe(0);
});
