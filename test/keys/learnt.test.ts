/** Limits that are not known: learnt from 429s and headers, against a provider whose strict window the test keeps. */
import { expect, test } from 'vitest';
import type { Key } from '../../src/keys/keyring.ts';
import { testRedis } from '../support/redis.ts';
import { createWorlds, makeKey, type World } from './world.ts';

const redis = testRedis();
const createWorld = createWorlds(redis);

/** The provider: `rpm` calls in any 60 s; refuses the others, which do not count. */
function createProvider(rpm: number) {
  const accepted: number[] = [];
  let refused = 0;
  return {
    limit: rpm,
    answers(nowMs: number): boolean {
      while (accepted.length > 0 && (accepted[0] as number) <= nowMs - 60_000) accepted.shift();
      if (accepted.length >= this.limit) {
        refused += 1;
        return false;
      }
      accepted.push(nowMs);
      return true;
    },
    /** Someone else uses the same key. */
    refusedCalls: () => refused,
  };
}

let nextLine = 100;

/** Sends one call after the other, as the limiter lets it, for so long; each answer comes 30 ms after its sending. */
async function work(world: World, key: Key, provider: ReturnType<typeof createProvider>, forMs: number) {
  const endsAt = world.clock.now + forMs;
  let answered = 0;
  while (world.clock.now < endsAt) {
    const line = (nextLine += 1);
    const reply = await world.ask({ line });
    if (reply.tag === 'wait') {
      world.clock.now += reply.waitMs;
      continue;
    }
    if (reply.tag !== 'slot') throw new Error(reply.tag);
    world.clock.now += reply.waitMs;
    const isAccepted = provider.answers(world.clock.now);
    if (isAccepted) answered += 1;
    await world.settle(line, {
      act: isAccepted ? { kind: 'ok' } : { kind: 'cool', reason: 'rpm_exceeded', retryAfterMs: null, limit: key },
    });
  }
  return answered;
}

test.each([600, 300, 60, 10])(
  'an unknown limit of %i a minute is found with at most two 429s, and used',
  async (rpm) => {
    const key = makeKey({ rpm: 'auto' });
    const world = await createWorld({ keys: [key] });
    const provider = createProvider(rpm);
    const answered = await work(world, key, provider, 600_000);
    expect(provider.refusedCalls()).toBeLessThanOrEqual(2);
    expect(answered).toBeGreaterThanOrEqual(rpm * 10 * 0.95);
  },
);

test('what was learnt is still known in the next run', async () => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  const provider = createProvider(60);
  await work(world, key, provider, 120_000);
  const before = provider.refusedCalls();
  world.clock.now += 3 * 60_000;
  await work(world, key, provider, 120_000);
  expect(provider.refusedCalls()).toBe(before);
});

test('other users of the key lower the limit that is used, and it recovers when they leave', async () => {
  const key = makeKey({ rpm: 100 });
  const world = await createWorld({ keys: [key] });
  const provider = createProvider(40);
  const crowded = await work(world, key, provider, 600_000);
  expect(crowded).toBeGreaterThanOrEqual(40 * 10 * 0.9);
  const refusedWhileCrowded = provider.refusedCalls();
  expect(refusedWhileCrowded).toBeLessThanOrEqual(30);
  provider.limit = 100;
  await work(world, key, provider, 20 * 60_000);
  expect(await work(world, key, provider, 300_000)).toBeGreaterThanOrEqual(480);
  expect(provider.refusedCalls()).toBe(refusedWhileCrowded);
});

test('a first 429 that others of the key have caused teaches nothing of its limit', async () => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  const provider = createProvider(0);
  await work(world, key, provider, 20_000);
  expect(provider.refusedCalls()).toBeGreaterThan(0);
  provider.limit = 60;
  await work(world, key, provider, 5 * 60_000);
  expect(await work(world, key, provider, 5 * 60_000)).toBeGreaterThanOrEqual(60 * 5 * 0.95);
});

test('others who fill a key for long do not wear its learnt limit away', async () => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  const provider = createProvider(60);
  await work(world, key, provider, 5 * 60_000);
  provider.limit = 0;
  await work(world, key, provider, 30 * 60_000);
  provider.limit = 60;
  await work(world, key, provider, 60_000);
  expect(await work(world, key, provider, 5 * 60_000)).toBeGreaterThanOrEqual(60 * 5 * 0.95);
});

test('a 429 that is settled long after its calls teaches nothing', async () => {
  const key = makeKey({ rpm: 100 });
  const world = await createWorld({ keys: [key] });
  for (let line = 1; line <= 90; line += 1) await world.ask({ line });
  for (let line = 1; line < 90; line += 1) await world.settle(line);
  // Redis was away meanwhile.
  world.clock.now += 75_000;
  await world.settle(90, { act: { kind: 'cool', reason: 'rate', retryAfterMs: 1000, limit: key } });
  expect((await world.hash(world.names.key(key.keyId)))['learnt']).toBeUndefined();
});

test.each([
  ['a little', 66],
  ['to what the provider gives at most', 600],
  ['beyond that', 1_000_000],
])('a limit that the provider has raised %s is followed', async (_, raised) => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  const provider = createProvider(60);
  await work(world, key, provider, 5 * 60_000);
  const before = provider.refusedCalls();
  provider.limit = raised;
  await work(world, key, provider, 16 * 60_000);
  const most = Math.min(raised, 600);
  expect(await work(world, key, provider, 60_000)).toBeGreaterThanOrEqual(most * 0.95);
  expect(provider.refusedCalls() - before).toBeLessThanOrEqual(2);
});

test('a limit that has not been raised is tried once in ten windows', async () => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  const provider = createProvider(60);
  await work(world, key, provider, 5 * 60_000);
  const before = provider.refusedCalls();
  expect(await work(world, key, provider, 60 * 60_000)).toBeGreaterThanOrEqual(60 * 60 * 0.95);
  expect(provider.refusedCalls() - before).toBeLessThanOrEqual(6);
});

test('a limit that a header named holds without any 429', async () => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  const provider = createProvider(50);
  await world.ask({ line: 1 });
  provider.answers(world.clock.now);
  await world.settle(1, { act: { kind: 'ok' }, toldRpm: 50 });
  await work(world, key, provider, 300_000);
  expect(provider.refusedCalls()).toBe(0);
});

const ceiling = (retryAfterMs: number | null = null) =>
  ({ kind: 'ceiling', reason: 'concurrency_limit_exceeded', retryAfterMs }) as const;

test('a 429 by concurrency makes what is in flight the ceiling, which rises again', async () => {
  const world = await createWorld({ keys: [makeKey()] });
  for (let line = 1; line <= 6; line++) await world.ask({ line });
  await world.settle(6, { act: ceiling() });
  expect(await world.ask({ line: 7 })).toMatchObject({ tag: 'wait', why: 'inflight' });
  world.clock.now += 15_000;
  expect(await world.ask({ line: 7 })).toMatchObject({ tag: 'slot' });
  expect(await world.ask({ line: 8 })).toMatchObject({ tag: 'wait', why: 'inflight' });
});

test('a 429 by concurrency while nothing of ours is in flight cools the key: others fill it', async () => {
  const world = await createWorld({ keys: [makeKey()] });
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  expect((await world.settle(1, { act: ceiling(2000) })).standing).toBeNull();
  expect(await world.settle(2, { act: ceiling(2000) })).toMatchObject({
    standing: { now: 'cooling', untilMs: world.clock.now + 2000 },
  });
  expect(await world.ask({ line: 1 })).toMatchObject({ tag: 'wait', why: 'cooling' });
  world.clock.now += 2000;
  expect(await world.ask({ line: 1 })).toMatchObject({ tag: 'slot' });
  expect(await world.settle(1, {})).toMatchObject({ standing: { now: 'active' } });
});

test('a large request that has waited for a window is not overtaken by small ones for ever', async () => {
  const world = await createWorld({ keys: [makeKey({ tpm: 1000 })] });
  const started = world.clock.now;
  let line = 1;
  for (;;) {
    const waitedMs = world.clock.now - started;
    expect(waitedMs).toBeLessThan(5 * 60_000);
    const large = await world.ask({ line: 1, tokens: 600, waitedMs });
    if (large.tag === 'slot') break;
    line += 1;
    await world.ask({ line, tokens: 10 });
    world.clock.now += 500;
  }
});
