/** Retiring, draining and coming back: what answers (settle.lua), time (acquire.lua) and people (standing.ts) do. */
import { expect, test } from 'vitest';
import type { Key } from '../../src/keys/keyring.ts';
import type { KeyAct } from '../../src/keys/settle.ts';
import { readStanding, registerKeys, reopenKeys, retireKeys } from '../../src/keys/standing.ts';
import { redisTimeMs } from '../../src/redis/time.ts';
import { testRedis } from '../support/redis.ts';
import { createWorlds, read, startMs, type World } from './world.ts';

const redis = testRedis();
const { client } = redis;
const createWorld = createWorlds(redis);

const cool = (retryAfterMs: number | null = null, limit: Key | null = null): KeyAct => ({
  kind: 'cool',
  reason: 'rpm_exceeded',
  retryAfterMs,
  limit,
});
const retire = (world: World, names: string[], backInMs: number | null = null): KeyAct => ({
  kind: 'retire',
  reason: 'exhausted',
  backInMs,
  keyIds: names.map((name) => world.keys.find((key) => key.name === name)!.keyId),
});
const keyOf = (world: World, name = 'a') => client.hgetall(world.names.key(`id-${name}`));
// ── retiring ──

test('a 402 retires one key, or all of its organisation, until a known time or for good', async () => {
  const world = await createWorld({ keys: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] });
  await world.ask({ line: 1, keys: ['a'] });
  await world.ask({ line: 2, keys: ['a'] });
  expect(await world.settle(1, { act: retire(world, ['a'], 90_000) })).toMatchObject({
    standing: { now: 'retired', untilMs: startMs + 90_000 },
  });
  expect(read(await world.ask())).toBe('slot b');
  expect(await world.settle(2, { act: retire(world, ['a', 'b', 'c']) })).toMatchObject({
    standing: { now: 'retired', untilMs: null },
  });
  expect(read(await world.ask())).toBe('none exhausted');
});

test('a 402 that is settled long after it was answered closes the key for its time, not for good', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  // Redis was away meanwhile.
  world.clock.now += 60_000;
  await world.settle(1, { act: retire(world, ['a'], 2000) });
  expect(read(await world.ask())).toBe('none exhausted, back +62000');
  world.clock.now += 2000;
  expect(read(await world.ask())).toBe('slot a');
});

test('a refused listing closes its key for the time that was named', async () => {
  const world = await createWorld();
  await retireKeys(client, world.names, ['id-a'], 'exhausted', 60_000);
  const { since, until } = await keyOf(world);
  expect(Number(until) - Number(since)).toBe(60_000);
});

test('a 402 to a call of before the trial that found the key well does not close it again', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(2, { act: retire(world, ['a'], 10_000) });
  world.clock.now += 11_000;
  await world.ask({ line: 3 });
  await world.settle(3);
  expect((await world.settle(1, { act: retire(world, ['a']) })).standing).toBeNull();
  expect(read(await world.ask())).toBe('slot a');
});

test('what is retired already is not news', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(1, { act: retire(world, ['a']) });
  expect((await world.settle(2, { act: retire(world, ['a']) })).standing).toBeNull();
});

test('a 429 does not bring a retired key back, not even that of its own outdated probe', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(1, { act: cool(100) });
  world.clock.now += 100;
  expect(read(await world.ask({ line: 3 }))).toBe('slot a');
  // While the probe is under way, an older call learns that the key is revoked.
  await world.settle(2, { act: retire(world, ['a']) });
  expect((await world.settle(3, { act: cool() })).standing).toBeNull();
  expect(await keyOf(world)).toMatchObject({ standing: 'retired', until: '0' });
});

test('a key back from its reset is tried by one request, and opened by its success', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.settle(1, { act: retire(world, ['a'], 5000) });
  expect(read(await world.ask())).toBe('none exhausted, back +5000');
  world.clock.now += 5000;
  expect(read(await world.ask({ line: 2 }))).toBe('slot a');
  expect((await world.settle(2)).standing).toMatchObject({ now: 'active' });
  expect(read(await world.ask())).toBe('slot a');
});

test('a draining key stays draining whatever its last calls answer', async () => {
  const world = await createWorld();
  for (const line of [1, 2, 3]) await world.ask({ line });
  await world.setKey('a', { standing: 'draining' });
  await world.settle(1, { act: cool() });
  await world.settle(2, { act: retire(world, ['a'], 1) });
  await world.settle(3);
  await retireKeys(client, world.names, ['id-a'], 'exhausted', 1);
  expect(await keyOf(world)).toMatchObject({ standing: 'draining', inflight: '0' });
});

// ── people ──

test('answers to calls of before a person reopened a key do not retire it again', async () => {
  const world = await createWorld();
  const [key] = world.keys;
  world.clock.now = (await redisTimeMs(client)) - 60_000;
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(1, { act: retire(world, ['a']) });
  expect(await reopenKeys(client, world.names, [key!])).toEqual(['a']);
  expect(await readStanding(client, world.names, key!.keyId)).toMatchObject({ standing: 'half_open', untilMs: null });
  expect((await world.settle(2, { act: retire(world, ['a']) })).standing).toBeNull();
  // But an answer to a later one does.
  world.clock.now = (await redisTimeMs(client)) + 10;
  expect(read(await world.ask({ line: 3 }))).toBe('slot a');
  await world.settle(3, { act: retire(world, ['a']) });
  expect(read(await world.ask())).toBe('none exhausted');
});

test('only retired keys are reopened, even from a probe that never came back', async () => {
  const world = await createWorld({ keys: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] });
  await world.setKey('a', { standing: 'retired', reason: 'expired', until: 1, probe: 'lost' });
  await world.setKey('b', { standing: 'cooling', until: startMs });
  expect(await reopenKeys(client, world.names, world.keys)).toEqual(['a']);
  world.clock.now = (await redisTimeMs(client)) + 10;
  expect(read(await world.ask({ keys: ['a'] }))).toBe('slot a');
});

test('a key\u2019s standing can be read with its name', async () => {
  const world = await createWorld();
  const [key] = world.keys;
  expect(await readStanding(client, world.names, key!.keyId)).toEqual({
    standing: 'active',
    reason: '',
    untilMs: null,
    inFlight: 0,
    spentNanoUsd: 0,
    reservedNanoUsd: 0,
    learnt: null,
  });
  await registerKeys(client, world.names, world.keys);
  await world.ask({ line: 1, cost: 50 });
  await retireKeys(client, world.names, [key!.keyId], 'org_exhausted', 3_600_000);
  expect(await readStanding(client, world.names, key!.keyId)).toMatchObject({
    standing: 'retired',
    reason: 'org_exhausted',
    untilMs: expect.any(Number),
    inFlight: 1,
    reservedNanoUsd: 50,
  });
  expect(await keyOf(world)).toMatchObject({ name: 'a', provider: 'sim', org: 'org' });
});
