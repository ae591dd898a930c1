/** Slots reserved ahead: what a crash leaves of them, before and after their call went out. */
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { parseIntent } from '../../src/keys/intent.ts';
import { reapIntents } from '../../src/keys/reap.ts';
import { createMarkSent } from '../../src/keys/sent.ts';
import { createSettle } from '../../src/keys/settle.ts';
import { testRedis } from '../support/redis.ts';
import { batchId, createWorlds, makeKey, type World } from './world.ts';

const redis = testRedis();
const createWorld = createWorlds(redis);

/** Two calls that go out at once, and one in a slot a moment ahead. */
async function setup() {
  const world = await createWorld({ keys: [makeKey({ rpm: 2 })] });
  await world.ask({ line: 1, attempt: 'a1' });
  await world.ask({ line: 2, attempt: 'a2' });
  world.clock.now += 60_000;
  expect(await world.ask({ line: 3, attempt: 'a3', cost: 70 })).toMatchObject({ tag: 'slot' });
  return world;
}

async function intentOf(world: World, line: number) {
  const [ref] = Object.keys(await world.hash(world.names.inflight)).filter((name) => name.endsWith(`-${line}`));
  return parseIntent(ref!, (await redis.client.hget(world.names.inflight, ref!))!);
}

const slotOf = (attemptId: string) => ({ batchId, line: 3, attemptId, keyId: 'id-a', withinMs: 3000 });

const createMark = (world: World) =>
  createMarkSent({ redis: redis.client, names: world.names, now: () => world.clock.now });

const bury = (world: World) => {
  const { client } = redis;
  const { names } = world;
  const settle = createSettle({ redis: client, names, now: () => world.clock.now });
  return reapIntents({ redis: client, names, settle, log: pino({ level: 'silent' }) }, () => true);
};

test('a reserved slot of a dead worker is given back, and nothing of it is possibly billed', async () => {
  const world = await setup();
  expect(await intentOf(world, 1)).toMatchObject({ isReserved: false });
  expect(await intentOf(world, 3)).toMatchObject({ isReserved: true });
  expect(await bury(world)).toBe(2);
  const key = await world.hash(world.names.key('id-a'));
  expect(key).toMatchObject({ inflight: '0', reserved: '0' });
  expect(Number(key['spent'] ?? 0)).toBe(0);
  expect(await redis.client.xlen(world.names.ledger(batchId))).toBe(2);
});

test('once its call has gone out it is possibly billed as any other', async () => {
  const world = await setup();
  const markSent = createMark(world);
  expect(await markSent(slotOf('a3'))).toBe('use');
  expect(await intentOf(world, 3)).toMatchObject({ isReserved: false, attemptId: 'a3' });
  expect(await bury(world)).toBe(3);
  expect(Number((await world.hash(world.names.key('id-a')))['spent'])).toBe(70);
});

test('a worker that was buried alive is told not to send', async () => {
  const world = await setup();
  const markSent = createMark(world);
  await bury(world);
  expect(await markSent(slotOf('a3'))).toBe('lost');
  await world.ask({ line: 3, attempt: 'other' });
  expect(await markSent(slotOf('a3'))).toBe('lost');
  expect(await markSent({ ...slotOf('a3'), batchId: 'none' })).toBe('lost');
});

test.each([
  ['the batch was stopped', (world: World) => [world.names.batch(batchId), { status: 'paused' }]],
  ['the key was retired', (world: World) => [world.names.key('id-a'), { standing: 'retired', reason: 'revoked' }]],
  ['the key was drained', (world: World) => [world.names.key('id-a'), { standing: 'draining' }]],
  ['the key cools', (world: World) => [world.names.key('id-a'), { standing: 'cooling' }]],
] as const)('a reserved slot is not used once %s, and stays to be given back', async (_, change) => {
  const world = await setup();
  const markSent = createMark(world);
  const [name, fields] = change(world) as [string, Record<string, string>];
  await redis.client.hset(name, fields);
  expect(await markSent(slotOf('a3'))).toBe('closed');
  expect(await intentOf(world, 3)).toMatchObject({ isReserved: true });
});

test('a slot whose time went by while its sender’s machine was suspended is not used, and stays to be given back', async () => {
  const world = await setup();
  const markSent = createMark(world);
  const { sentAtMs } = await intentOf(world, 3);
  world.clock.now = sentAtMs + 3001;
  expect(await markSent(slotOf('a3'))).toBe('late');
  expect(await intentOf(world, 3)).toMatchObject({ isReserved: true });
  world.clock.now = sentAtMs + 3000;
  expect(await markSent(slotOf('a3'))).toBe('use');
});

test('the one request that tries a key after its trouble goes out', async () => {
  const world = await setup();
  const markSent = createMark(world);
  await redis.client.hset(world.names.key('id-a'), { standing: 'cooling', probe: 'a3' });
  expect(await markSent(slotOf('a3'))).toBe('use');
});
