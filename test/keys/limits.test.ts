/**
 * The limiter's two promises, for schedules that nobody thought of: no window of any bucket ever holds more than its
 * limits, and while there is work the limits are used.
 */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AcquireReply } from '../../src/keys/limiter.ts';
import { testRedis } from '../support/redis.ts';
import { createWorlds, startMs, type KeyShape, type World } from './world.ts';

const createWorld = createWorlds(testRedis());

type Stamp = { atMs: number; tokens: number };
type Sent = { line: number; keyName: string; cost: number; stamp: Stamp };

const windowMs = 3000;
/** Small limits are reached by short schedules. A shared bucket has one limit: its keys agree on it. */
const limits = fc.record({ rpm: fc.option(fc.integer({ min: 1, max: 6 })), tpm: fc.option(fc.constant(100)) });
const setups = fc.record({
  shared: limits,
  own: limits,
  keys: fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
  horizonMs: fc.constantFrom(0, 100, 1000),
});

const asks = fc.record({
  do: fc.constant('ask' as const),
  /** Tokens of requests that travel in one call of the script. */
  tokens: fc.array(fc.integer({ min: 0, max: 110 }), { minLength: 1, maxLength: 8 }),
  twice: fc.boolean(),
});
const ends = fc.record({
  do: fc.constantFrom('settle' as const, 'settle' as const, 'release' as const, 'unknown' as const),
  which: fc.nat(1000),
  tokens: fc.option(fc.integer({ min: 0, max: 160 })),
});
const advances = fc.record({
  do: fc.constant('advance' as const),
  ms: fc.oneof(fc.nat(60), fc.nat(windowMs), fc.constantFrom(windowMs, windowMs + 250, 2 * windowMs)),
});
/** The configuration is changed while calls are in the window, for the shared bucket or for all the others. */
const changes = fc.record({ do: fc.constant('change' as const), shared: fc.boolean(), limits });
const schedules = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: asks },
    { weight: 3, arbitrary: ends },
    { weight: 3, arbitrary: advances },
    { weight: 1, arbitrary: changes },
  ),
  { maxLength: 60 },
);

test('no schedule ever puts more than its limits into any window', { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(setups, schedules, async (setup, schedule) => {
      const keys = setup.keys.map((isShared, index): KeyShape => ({
        name: `k${index}`,
        windowMs,
        ...(isShared ? { ...setup.shared, bucketId: 'shared' } : { ...setup.own, bucketId: `own-${index}` }),
      }));
      const world = await createWorld({ keys, horizonMs: setup.horizonMs });
      const history = new Map<string, Stamp[]>(world.keys.map(({ bucketId }) => [bucketId, []]));
      const inFlight: Sent[] = [];

      const record = (line: number, tokens: number, cost: number, reply: AcquireReply) => {
        if (reply.tag !== 'slot') return;
        const { key, waitMs } = reply;
        expect(waitMs).toBeLessThanOrEqual(setup.horizonMs);
        const stamp = { atMs: world.clock.now + waitMs, tokens };
        const stamps = history.get(key.bucketId)!;
        inFlight.push({ line, keyName: key.name, cost, stamp });
        stamps.push(stamp);
        if (key.rpm === null && key.tpm === null) return;
        expect(stamp.atMs).toBeGreaterThanOrEqual(Math.max(...stamps.map(({ atMs }) => atMs)));
        const inWindow = stamps.filter(({ atMs }) => atMs >= stamp.atMs - windowMs);
        if (typeof key.rpm === 'number') expect(inWindow.length).toBeLessThanOrEqual(key.rpm);
        // By what is known now; a request that counts nothing may join a window that real usage has overfilled.
        const used = inWindow.reduce((sum, one) => sum + one.tokens, 0);
        if (typeof key.tpm === 'number' && tokens > 0) expect(used).toBeLessThanOrEqual(key.tpm);
      };

      let line = 0;
      for (const step of schedule) {
        if (step.do === 'advance') {
          world.clock.now += step.ms;
        } else if (step.do === 'change') {
          for (const key of world.keys) {
            if ((key.bucketId === 'shared') === step.shared) Object.assign(key, step.limits);
          }
        } else if (step.do === 'ask') {
          const requests = step.tokens.map((tokens) => ({
            line: (line += 1),
            attempt: `${line}.0`,
            tokens,
            cost: tokens,
          }));
          const replies = await Promise.all(requests.map(world.ask));
          for (const [index, ask] of requests.entries()) record(ask.line, ask.tokens, ask.cost, replies[index]!);
          if (!step.twice) continue;
          // A lost reply: the same ask again is the same slot, and a second one is not taken.
          const again = await Promise.all(requests.map(world.ask));
          for (const [index, ask] of requests.entries()) {
            if (replies[index]?.tag === 'slot')
              expect(again[index]).toMatchObject({ tag: 'slot', key: replies[index].key });
            else record(ask.line, ask.tokens, ask.cost, again[index]!);
          }
        } else {
          const [sent] = inFlight.splice(step.which % Math.max(1, inFlight.length), 1);
          if (!sent) continue;
          await end(world, sent, step);
          const { bucketId } = world.keys.find(({ name }) => name === sent.keyName)!;
          const stamps = history.get(bucketId)!;
          if (step.do === 'release') stamps.splice(stamps.indexOf(sent.stamp), 1);
          else if (step.do === 'settle' && step.tokens !== null) sent.stamp.tokens = step.tokens;
        }
      }
      await expectNoDrift(world, inFlight);
    }),
    { numRuns: 250 },
  );
});

function end(world: World, { line }: Sent, step: { do: 'settle' | 'release' | 'unknown'; tokens: number | null }) {
  if (step.do === 'settle') return world.settle(line, { tokens: step.tokens, costNanoUsd: 1 });
  return world.settle(line, { fate: step.do, act: { kind: 'neutral' } });
}

/** The counters are the sums of what they count. */
async function expectNoDrift(world: World, inFlight: Sent[]): Promise<void> {
  const total = inFlight.reduce((sum, { cost }) => sum + cost, 0);
  const { names } = world;
  expect(Number((await world.hash(names.spend))['reserved'] ?? 0)).toBe(total);
  for (const { name, keyId, bucketId } of world.keys) {
    const calls = inFlight.filter(({ keyName }) => keyName === name);
    const key = await world.hash(names.key(keyId));
    expect(Number(key['inflight'] ?? 0)).toBe(calls.length);
    expect(Number(key['reserved'] ?? 0)).toBe(calls.reduce((sum, { cost }) => sum + cost, 0));
    const bucket = await world.hash(names.bucket(bucketId));
    const slices = Object.entries(bucket).filter(([field]) => /^s\d/.test(field));
    const parts = slices.map(([, packed]) => packed.split(':').map(Number));
    expect(Number(bucket['reqs'] ?? 0)).toBe(parts.reduce((sum, [reqs = 0]) => sum + reqs, 0));
    expect(Number(bucket['toks'] ?? 0)).toBe(parts.reduce((sum, [, toks = 0]) => sum + toks, 0));
  }
}

const backlogs = fc.record({
  rpms: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
  tokens: fc.option(fc.integer({ min: 1, max: 50 })),
  /** Before the backlog: calls here and there, so that the window does not begin with one burst. */
  early: fc.array(fc.nat(9000), { maxLength: 20 }),
});

test('while there is work, at least 99 % of each limit is used', { timeout: 60_000 }, async () => {
  const windows = 20;
  await fc.assert(
    fc.asyncProperty(backlogs, async ({ rpms, tokens, early }) => {
      const keys = rpms.map((rpm, index) => ({ name: `k${index}`, rpm, tpm: tokens === null ? null : rpm * tokens }));
      const world = await createWorld({ keys });
      const sentAt = new Map<string, number[]>(keys.map(({ name }) => [name, []]));
      /** Asks; returns how long the first to wait must wait. */
      const askAtOnce = async (count: number) => {
        let waitMs = 0;
        for (const reply of await Promise.all(
          Array.from({ length: count }, () => world.ask({ tokens: tokens ?? 0 })),
        )) {
          if (reply.tag === 'slot') sentAt.get(reply.key.name)!.push(world.clock.now + reply.waitMs);
          else if (reply.tag === 'wait' && waitMs === 0) waitMs = reply.waitMs;
        }
        return waitMs;
      };
      for (const ms of early) {
        await askAtOnce(1);
        world.clock.now += ms;
      }
      const endMs = startMs + (windows + 6) * 60_000;
      while (world.clock.now < endMs) world.clock.now += await askAtOnce(32);
      // How long so many windows' worth of requests took, from a window that was full on.
      for (const { name, rpm } of keys) {
        const stamps = sentAt.get(name)!;
        const tookMs = stamps[rpm * (windows + 1)]! - stamps[rpm]!;
        expect((windows * 60_000) / tookMs).toBeGreaterThanOrEqual(0.99);
      }
    }),
    { numRuns: 12 },
  );
});
