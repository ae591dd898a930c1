import { expect, onTestFinished, test } from 'vitest';
import type { BatchRecord } from '../../src/batch/batch.ts';
import { parseRequest } from '../../src/batch/request.ts';
import type { Key } from '../../src/keys/keyring.ts';
import { sizeOf } from '../../src/provider/request-size.ts';
import { callProvider } from '../../workers/call.ts';
import type { Resolved } from '../../workers/candidates.ts';
import { createLanes } from '../../workers/lanes.ts';
import type { LineRun } from '../../workers/line.ts';
import { createSeats } from '../../workers/seats.ts';
import { readClocks, suspendedMs } from '../../workers/suspension.ts';
import { startUpstream } from '../provider/upstream.ts';
import { testRedis } from '../support/redis.ts';
import { startBatch } from './running-batch.ts';
import { secret, startSmallWorkers } from './small-worker.ts';

const redis = testRedis();

test.each<[string, { wallMs: number; monotonicMs: number }, number]>([
  ['both clocks go on alike', { wallMs: 90_000, monotonicMs: 90_000 }, 0],
  ['the machine sleeps for ten minutes', { wallMs: 600_005, monotonicMs: 5 }, 600_000],
  ['the wall clock is set forward', { wallMs: 61_000, monotonicMs: 1000 }, 60_000],
  ['the wall clock is set back', { wallMs: -3_600_000, monotonicMs: 1000 }, 0],
])('%s', (_, passed, suspended) => {
  const since = { monotonicMs: 5000, wallMs: 1_700_000_000_000 };
  const now = { monotonicMs: 5000 + passed.monotonicMs, wallMs: since.wallMs + passed.wallMs };
  expect(suspendedMs(since, now)).toBe(suspended);
});

/** A line with a slot granted at once, for which it asked so long ago by the wall clock. */
async function grantedAtOnce(agoMs: number) {
  const answer = JSON.stringify({ choices: [{ message: { role: 'assistant', content: 'Yes.' } }] });
  const upstream = await startUpstream((response) => void response.end(answer));
  onTestFinished(() => upstream[Symbol.asyncDispose]());
  const env = { PMIND_KEY: secret, PMIND_BASE_URL: upstream.provider.baseUrl };
  const { names, workers } = await startSmallWorkers(redis.url, 1, env);
  const { ctx } = workers[0]!;
  const batch: BatchRecord = await startBatch(ctx.redis, names);
  const parsed = parseRequest('{"prompt":"Did I sleep?"}', 1, { model: 'fast' });
  if (!parsed.ok) throw new Error(parsed.problem.message);
  const run: LineRun = {
    ctx,
    lanes: createLanes(ctx.acquire, createSeats(1), { longestWaitMs: 1000, outdatedAfterMs: 1000 }),
    batch,
    line: 1,
    attemptsSpent: 0,
    request: parsed.request,
    size: sizeOf(parsed.request.body),
    modelErrors: 0,
    waitingSinceMs: performance.now(),
    hasBrokenStream: false,
    hasHung: false,
  };
  const chosen = { key: ctx.keyring.keys[0] as Key, model: 'some-model', facts: { price: null } } as Resolved;
  const attemptId = `${batch.batchId}-1.one`;
  const { wallMs, monotonicMs } = readClocks();
  const reply = await ctx.acquire({
    batchId: batch.batchId,
    line: 1,
    attemptId,
    customId: '1',
    requestedModel: 'fast',
    candidates: [chosen],
    estimatedTokens: 10,
    estimatedCostNanoUsd: 0,
    waitingSinceMs: monotonicMs,
  });
  if (reply.tag !== 'slot' || reply.waitMs > 0) throw new Error(`expected a slot at once, got ${reply.tag}`);
  const call = await callProvider(run, chosen, attemptId, { ...reply, asked: { monotonicMs, wallMs: wallMs - agoMs } });
  return { call, sent: upstream.requests.length, inFlight: await ctx.redis.hkeys(names.inflight) };
}

test('a slot that was granted before the machine slept is given back, not used', async () => {
  expect(await grantedAtOnce(600_000)).toEqual({ call: { tag: 'void' }, sent: 0, inFlight: [] });
});

test.each([
  ['nothing has happened to the clock', 0],
  ['the clock was set back', -3_600_000],
])('a slot is used when %s', async (_, agoMs) => {
  const { call, sent } = await grantedAtOnce(agoMs);
  expect([call.tag, sent]).toEqual(['answered', 1]);
});
