import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
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

const kills = Number(process.env['NIGHTSHIFT_TEST_KILLS'] ?? 5);
const seed = Number(process.env['NIGHTSHIFT_TEST_SEED'] ?? 1);
const callsPerLife = 40;

test(
  `killed ${kills} times at random moments and started again, a batch has every line once`,
  { timeout: 90_000 + kills * 10_000 },
  async () => {
    const random = createRandom(seed);
    const world = await createWorld({ scenario: { latencyMs: { min: 20, max: 200 } } });
    const ids = writeInput(world, { count: 150 + kills * callsPerLife });
    // Each death may cost a line one of its attempts.
    const args = ['run', 'in.jsonl', '--out', 'out', '--concurrency', '20', '--attempts', '100'];
    let killed = 0;
    for (let life = 0; life < kills; life += 1) {
      const process = world.start(args);
      await world.untilCalls(world.truth().totals.calls + Math.floor(random() * callsPerLife), process);
      // A moment among those that follow: a call, a settling, a write to the files.
      await sleep(random() * 100);
      if ((await process.kill('SIGKILL')) === 'SIGKILL') killed += 1;
    }
    expect(killed).toBe(kills);
    expectExit(await world.nightshift(args), 0);

    expect(readResults(world, ids).errors).toEqual([]);
    const outcomes = countByOutcome(readLedger(world));
    const { completed = 0, unknown = 0, ...others } = outcomes;
    expect(completed).toBe(ids.length);
    expect(others).toEqual({});
    // What was answered had been sent, and what was sent has a row. An `unknown` row is a call that may have been sent:
    // it was granted, and its process died before it had settled the answer, so there may be more rows than calls.
    const { calls } = world.truth().totals;
    expect(completed).toBeLessThanOrEqual(calls);
    expect(completed + unknown).toBeGreaterThanOrEqual(calls);
    // Never more than what one process has in flight.
    expect(unknown).toBeLessThanOrEqual(kills * 20);
  },
);

test('a batch whose Redis is killed in mid-run goes on by itself, and not a call is lost or made twice', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count: 400 });
  const run = world.start(['run', 'in.jsonl', '--out', 'out', '--concurrency', '20']);
  for (const calls of [60, 200]) {
    await world.untilCalls(calls, run);
    await killRedis(world);
  }
  const ended = await endOf(run);
  expectExit(ended, 0);
  expect(ended.stderr).toContain('Redis connection lost');

  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(ids.length);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

async function killRedis(world: World): Promise<void> {
  const client = new Redis(world.file('.nightshift/redis/redis.sock'), { retryStrategy: null });
  client.on('error', () => {});
  onTestFinished(() => client.disconnect());
  const pid = /process_id:(\d+)/.exec(await client.info('server'))?.[1];
  process.kill(Number(pid), 'SIGKILL');
}

/** Mulberry32: the same seed, the same moments. */
function createRandom(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
