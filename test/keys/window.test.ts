/**
 * The window in Redis: the known mistakes of home-made ones (members of one millisecond colliding, keys without expiry,
 * counting before dropping, client clocks, memory), and what happens to it when the clock or the configuration moves.
 */
import { expect, test } from 'vitest';
import { createLateness } from '../../src/keys/lateness.ts';
import { readWindow } from '../../src/keys/window-use.ts';
import { windowShape } from '../../src/keys/window.ts';
import { createLog } from '../../src/log.ts';
import { redisTimeMs } from '../../src/redis/time.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { createWorlds, makeKey, read, startMs, type World } from './world.ts';

const redis = testRedis();
const { client } = redis;
const createWorld = createWorlds(redis);
const log = createLog('silent');

const bucketOf = (world: World) => world.names.bucket('bucket-a');
const many = (count: number, ask: () => Promise<unknown>) => Promise.all(Array.from({ length: count }, ask));

test('requests of the same millisecond all count', async () => {
  const world = await createWorld({ keys: [{ rpm: 300 }] });
  const replies = await Promise.all(Array.from({ length: 301 }, () => world.ask()));
  expect(replies.filter(({ tag }) => tag === 'slot')).toHaveLength(300);
  expect(await world.hash(bucketOf(world))).toMatchObject({ reqs: '300' });
});

test('two processes that ask at the same moment share the limit', async () => {
  const world = await createWorld({ keys: [{ rpm: 50 }] });
  const other = world.other({ workerId: 'worker-2' });
  const replies = await Promise.all([many(40, () => world.ask()), many(40, () => other.ask())]);
  const slots = replies.flat().filter((reply) => (reply as { tag: string }).tag === 'slot');
  expect(slots).toHaveLength(50);
});

test('what has left the window is dropped before anything is counted', async () => {
  const world = await createWorld({ keys: [{ rpm: 5 }] });
  await many(5, () => world.ask());
  world.clock.now += 60_350;
  expect(read(await world.ask())).toBe('slot a');
  expect(await world.hash(bucketOf(world))).toMatchObject({ reqs: '1' });
});

test('a bucket stays as small as its slices, however many calls go through it', async () => {
  const world = await createWorld({ keys: [{ rpm: 1_000_000, windowMs: 6000 }] });
  const slices = 600;
  let largest = 0;
  for (let round = 0; round < 160; round += 1) {
    await many(64, () => world.ask());
    world.clock.now += 97;
    largest = Math.max(largest, await client.hlen(bucketOf(world)));
  }
  expect(largest).toBeLessThan(slices + 60);
  // The totals are those of the slices that are left.
  const fields = await world.hash(bucketOf(world));
  const left = Object.entries(fields).filter(([field]) => /^s\d/.test(field));
  const sum = left.reduce((total, [, packed]) => total + Number(packed.split(':')[0]), 0);
  expect(fields['reqs']).toBe(String(sum));
});

test('a pause longer than the window leaves one slice', async () => {
  const world = await createWorld({ keys: [{ rpm: 1000 }] });
  for (let second = 0; second < 50; second += 1) {
    await world.ask();
    world.clock.now += 1000;
  }
  world.clock.now += 3_600_000;
  await world.ask();
  const fields = Object.keys(await world.hash(bucketOf(world)));
  expect(fields.filter((field) => /^s\d/.test(field))).toHaveLength(1);
});

test('a bucket expires when it is idle, but not before its window is over', async () => {
  const world = await createWorld({ keys: [{ rpm: 10 }] });
  await world.ask();
  const ttlMs = await client.pttl(bucketOf(world));
  expect(ttlMs).toBeGreaterThan(61_350);
  expect(ttlMs).toBeLessThan(600_000);
});

test('settling calls of a bucket that has expired leaves no trace of it', async () => {
  const world = await createWorld({ keys: [{ rpm: 10, tpm: 100 }] });
  await world.ask({ line: 1, tokens: 10 });
  await world.ask({ line: 2, tokens: 10 });
  await client.unlink(bucketOf(world));
  await world.settle(1, { tokens: 90 });
  await world.settle(2, { fate: 'release', act: { kind: 'neutral' } });
  expect(await client.exists(bucketOf(world))).toBe(0);
  expect(await world.hash(world.names.key('id-a'))).toMatchObject({ inflight: '0', reserved: '0' });
});

test('the scripts survive a flush of the script cache', async () => {
  const world = await createWorld({ keys: [{ rpm: 10 }] });
  await world.ask({ line: 1 });
  await client.script('FLUSH');
  await world.settle(1);
  await client.script('FLUSH');
  expect(read(await world.ask())).toBe('slot a');
  expect(await world.hash(world.names.key('id-a'))).toMatchObject({ inflight: '1' });
});

// ── the clock and the configuration ──

test('a clock that goes back a little changes nothing: stamps wait for it', async () => {
  const world = await createWorld({ keys: [{ rpm: 10 }] });
  await world.ask();
  world.clock.now -= 400;
  expect(read(await world.ask())).toBe('slot a +400');
});

test('a clock that goes back by hours costs one window, not hours', async () => {
  const world = await createWorld({ keys: [{ rpm: 2 }] });
  await world.ask();
  await world.ask();
  world.clock.now -= 3 * 3_600_000;
  // Both count as sent now (at the horizon's end), and no more than that.
  expect(read(await world.ask())).toBe('wait 60350 rate');
  world.clock.now += 60_350;
  expect(read(await world.ask())).toBe('slot a +1000');
  expect(read(await world.ask())).toBe('slot a +1000');
  expect(read(await world.ask())).toMatch(/^wait \d+ rate$/);
});

test('a window whose length is changed between two runs keeps what was sent', async () => {
  const world = await createWorld({ keys: [{ rpm: 2, windowMs: 60_000 }] });
  await world.ask();
  await world.ask();
  const changed = world.other({ keys: [{ rpm: 2, windowMs: 6000 }] });
  // 6000 + a slice of 10 + a guard of 250, less the horizon.
  expect(read(await changed.ask())).toBe('wait 5260 rate');
  world.clock.now += 6260;
  expect(read(await changed.ask())).toBe('slot a');
});

test('two configurations that disagree about the window do not open it for each other', async () => {
  const world = await createWorld({ keys: [{ rpm: 5, windowMs: 60_000 }] });
  const other = world.other({ keys: [{ rpm: 5, windowMs: 6000 }], workerId: 'worker-2' });
  const replies = [];
  for (let turn = 0; turn < 10; turn += 1) replies.push(await world.ask(), await other.ask());
  expect(replies.filter(({ tag }) => tag === 'slot')).toHaveLength(5);
});

// ── the guard ──

test('the guard scales down with short windows only as far as it must', () => {
  expect(windowShape(60_000)).toEqual({ windowMs: 60_000, sliceMs: 100, guardMs: 250 });
  expect(windowShape(1000)).toEqual({ windowMs: 1000, sliceMs: 1, guardMs: 100 });
  expect(windowShape(300).sliceMs).toBe(1);
});

test.each([
  { name: 'an extra guard holds back the next window', extra: 2000, ageMs: 0, gets: 'wait 61350 rate' },
  { name: 'it is half of that after ten minutes', extra: 2000, ageMs: 600_000, gets: 'wait 60350 rate' },
  { name: 'it does not grow when the clock goes back', extra: 2000, ageMs: -600_000, gets: 'wait 61350 rate' },
  // A process that slept for an hour: a quarter of the window, not an hour.
  { name: 'it is bounded', extra: 3_600_000, ageMs: 0, gets: 'wait 74350 rate' },
])('$name', async ({ extra, ageMs, gets }) => {
  const world = await createWorld({ keys: [{ rpm: 1 }] });
  await client.hset(bucketOf(world), { extra, extraAt: startMs - ageMs });
  await world.ask();
  expect(read(await world.ask())).toBe(gets);
});

test('the guard of a long window lasts until what was sent late has left it', async () => {
  const windowMs = 3_600_000;
  const world = await createWorld({ keys: [{ rpm: 1, windowMs }] });
  await world.ask();
  await client.hset(bucketOf(world), { extra: 2000, extraAt: startMs });
  world.clock.now += windowMs;
  // In an hour of a window of an hour it has lost a fifteenth; the guard itself and a slice come on top, less the horizon.
  const { waitMs } = (await world.ask()) as { waitMs: number };
  expect(waitMs).toBeGreaterThan(1000);
});

test('a late send widens the guard, on top of what little is left of an earlier one', async () => {
  const world = await createWorld({ keys: [{ rpm: 1 }] });
  const key = makeKey({ rpm: 1 });
  const hourAgo = (await redisTimeMs(client)) - 3_600_000;
  await client.hset(bucketOf(world), { extra: 900, extraAt: hourAgo });
  createLateness({ redis: client, names: world.names, log }).note(key, 800);
  await waitFor(async () => (await client.hget(bucketOf(world), 'extra')) === '800');
  // Nobody else may ever touch this bucket.
  await waitFor(async () => (await client.pttl(bucketOf(world))) > 0);
});

// ── display ──

test('the use of a window is what was sent in it', async () => {
  const now = await redisTimeMs(client);
  const world = await createWorld({ keys: [{ rpm: 10, tpm: 1000 }] });
  const [key] = world.keys;
  world.clock.now = now - 61_000;
  await world.ask({ tokens: 100 });
  world.clock.now = now - 30_000;
  await world.ask({ line: 2, tokens: 100 });
  await world.ask({ tokens: 100 });
  await world.settle(2, { tokens: 250 });
  expect(await readWindow(client, world.names, key!)).toEqual({ requests: 2, tokens: 350 });
  expect(await readWindow(client, world.names, makeKey({ name: 'idle' }))).toEqual({ requests: 0, tokens: 0 });
});
