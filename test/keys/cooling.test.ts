/** Cooling: what a 429 does to its key, how long, and how it opens again. */
import { expect, test } from 'vitest';
import type { Key } from '../../src/keys/keyring.ts';
import type { KeyAct } from '../../src/keys/settle.ts';
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
const keyOf = (world: World, name = 'a') => client.hgetall(world.names.key(`id-${name}`));
/** How long the key cools from now on. */
const coolsMs = async (world: World) => Number((await keyOf(world))['until']) - world.clock.now;

test('a 429 cools the key, and says so once', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  world.clock.now += 100;
  const { standing } = await world.settle(1, { act: cool() });
  expect(standing).toMatchObject({ now: 'cooling' });
  // One second with jitter downwards.
  expect(await coolsMs(world)).toBeGreaterThanOrEqual(500);
  expect(await coolsMs(world)).toBeLessThanOrEqual(1000);
  expect(standing?.untilMs).toBe(world.clock.now + (await coolsMs(world)));
});

test('one burst of 429s is one cool-down', async () => {
  const world = await createWorld();
  for (let line = 1; line <= 50; line += 1) await world.ask({ line });
  world.clock.now += 100;
  await world.settle(1, { act: cool() });
  const first = await keyOf(world);
  for (let line = 2; line <= 50; line += 1) {
    world.clock.now += 3;
    expect((await world.settle(line, { act: cool(60_000) })).standing).toBeNull();
  }
  const { until, level } = await keyOf(world);
  expect({ until, level }).toEqual({ until: first['until'], level: '1' });
});

test('a call whose slot was reserved before the cool-down and came due in it belongs to the burst', async () => {
  const world = await createWorld({ keys: [{ rpm: 2 }] });
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(2, {});
  world.clock.now += 60_000;
  expect(read(await world.ask({ line: 3 }))).toBe('slot a +350');
  await world.settle(1, { act: cool(5000) });
  world.clock.now += 400;
  expect((await world.settle(3, { act: cool() })).standing).toBeNull();
  expect(await keyOf(world)).toMatchObject({ level: '1', until: String(startMs + 65_000) });
});

test('a straggler of a burst does not cool a key that is open again', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(1, { act: cool(500) });
  world.clock.now += 500;
  await world.ask({ line: 3 });
  await world.settle(3);
  expect((await world.settle(2, { act: cool() })).standing).toBeNull();
  expect(await keyOf(world)).toMatchObject({ standing: 'active' });
});

test('a success of before the cool-down does not end it', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(1, { act: cool(5000) });
  expect((await world.settle(2)).standing).toBeNull();
  expect(await keyOf(world)).toMatchObject({ standing: 'cooling' });
});

test('each 429 of a probe doubles the cool-down, up to 30 seconds; a success opens the key and forgets', async () => {
  const world = await createWorld();
  const longest = [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000];
  for (const [index, mostMs] of longest.entries()) {
    await world.ask({ line: index + 1 });
    await world.settle(index + 1, { act: cool() });
    expect(await coolsMs(world)).toBeLessThanOrEqual(mostMs);
    expect(await coolsMs(world)).toBeGreaterThanOrEqual(mostMs / 2);
    world.clock.now += mostMs;
  }
  await world.ask({ line: 50 });
  expect(await world.settle(50)).toMatchObject({ standing: { now: 'active', untilMs: null } });
  await world.ask({ line: 51 });
  world.clock.now += 1;
  await world.settle(51, { act: cool() });
  // The burst check compares with the last cool-down: this call was sent after it.
  expect(await coolsMs(world)).toBeLessThanOrEqual(1000);
});

test('the server\u2019s own waiting time wins, however long', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.settle(1, { act: cool(120_000) });
  expect(await coolsMs(world)).toBe(120_000);
});

test('a waiting time that was not enough, as none at all, is lengthened with each refusal', async () => {
  const world = await createWorld();
  const waited: number[] = [];
  for (const line of [1, 2, 3, 4, 5]) {
    await world.ask({ line });
    await world.settle(line, { act: cool(0) });
    waited.push(await coolsMs(world));
    world.clock.now += await coolsMs(world);
  }
  expect(waited[0]).toBe(1);
  for (const [index, leastMs] of [1000, 2000, 4000, 8000].entries()) {
    expect(waited[index + 1]).toBeGreaterThanOrEqual(leastMs);
  }
});

test('429s widen the guard, which shrinks in between, is bounded and never narrows what lateness has set', async () => {
  const world = await createWorld();
  const bucket = world.names.bucket('bucket-a');
  let line = 0;
  const surprise = async () => {
    await world.ask({ line: (line += 1) });
    await world.settle(line, { act: cool(1, world.keys[0]) });
    world.clock.now += 1000;
    await world.ask({ line: (line += 1) });
    await world.settle(line);
    world.clock.now += 1000;
    return Number(await client.hget(bucket, 'extra'));
  };
  expect(await surprise()).toBe(250);
  expect(await surprise()).toBeGreaterThan(490);
  // Six half-lives later nearly nothing is left of them.
  world.clock.now += 3_600_000;
  expect(await surprise()).toBeLessThan(260);
  for (let turn = 0; turn < 12; turn += 1) await surprise();
  expect(await surprise()).toBeLessThanOrEqual(2000);
  await client.hset(bucket, { extra: 9000, extraAt: world.clock.now });
  expect(await surprise()).toBe(9000);
  // A key without limits has no window, so nobody else would ever end this bucket.
  expect(await client.pttl(bucket)).toBeGreaterThan(0);
});
