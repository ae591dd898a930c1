/** Whom a worker takes for dead, and whom not: the silence of others may be Redis' own. */
import { hostname } from 'node:os';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import type { Names } from '../../src/redis/names.ts';
import { announceKeys, believedForMs } from '../../src/keys/announced.ts';
import { thisMachine } from '../../src/process-gone.ts';
import { redisTimeMs } from '../../src/redis/time.ts';
import { isAlive } from '../../workers/roster.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { makeKey } from '../keys/world.ts';
import { startSmallWorkers, type SmallWorker } from './small-worker.ts';

/** A Redis of the test's own, as it is to stand still. */
async function startPair() {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  const { names, workers } = await startSmallWorkers(server.url, 2);
  const admin = new Redis(server.url);
  onTestFinished(() => admin.disconnect());
  const [one, two] = workers as [SmallWorker, SmallWorker];
  return { names, one, two, admin };
}

const far = 'far-away.1a2b3c4d/7/abcdef';
/** Longer than a worker may be silent. */
const silentForMs = 11_000;
/** Longer than an answer takes. */
const standstillMs = 2200;

async function lastSeen(redis: Redis, names: Names, workerId: string, agoMs: number): Promise<void> {
  await redis.zadd(names.workers, (await redisTimeMs(redis)) - agoMs, workerId);
}

/** Connections stay open, nothing is answered. */
const standStill = (redis: Redis) => redis.client('PAUSE', standstillMs, 'ALL');

test('a worker that has been silent for long is dead', async () => {
  const { names, one, admin } = await startPair();
  await lastSeen(admin, names, far, silentForMs);
  expect(await isAlive(one.ctx.redis, names, far, one.ctx.absence)).toBe(false);
  await one.roster.recoverInTurn();
  expect(await admin.zscore(names.workers, far)).toBeNull();
});

test('nobody is buried by a look that began before Redis stood still, or by a worker whose sign of life met that', async () => {
  const { names, one, two, admin } = await startPair();
  await lastSeen(admin, names, far, silentForMs);
  await standStill(admin);
  // `far` is further from Redis: its sign of life comes in a moment.
  const signOfLife = two.roster.signOfLife();
  await one.roster.recoverInTurn();
  expect(await admin.zscore(names.workers, far)).not.toBeNull();
  await signOfLife;
  expect(await two.roster.recover()).toEqual([]);
  expect(await isAlive(two.ctx.redis, names, far, two.ctx.absence)).toBe(true);
});

test('the keys of a worker that could not speak while Redis stood still are still believed in', async () => {
  const { names, one, admin } = await startPair();
  await announceKeys(admin, names, [makeKey()], { aliases: {}, fallbacks: {} });
  const [field = '', said = ''] = Object.entries(await admin.hgetall(names.announced)).flat();
  const atMs = (await redisTimeMs(admin)) - believedForMs - 1000;
  await admin.hset(names.announced, field, JSON.stringify({ ...(JSON.parse(said) as object), atMs }));
  await standStill(admin);
  await one.roster.signOfLife();
  expect((await one.ctx.elsewhere()).map(({ key }) => key.keyId)).toEqual([makeKey().keyId]);
});

test('a worker of another machine with our host name and process id lives; an earlier life of ours does not', async () => {
  const { names, one, admin } = await startPair();
  const earlier = `${thisMachine()}/${process.pid}/abcdef`;
  // Two containers, each with process id 1 and the name of their host; the second as an older version signs.
  const namesakes = [`${hostname()}.00000000/${process.pid}/abcdef`, `${hostname()}/${process.pid}/abcdef`];
  for (const id of [earlier, ...namesakes]) await lastSeen(admin, names, id, 0);
  for (const id of namesakes) expect(await isAlive(one.ctx.redis, names, id)).toBe(true);
  expect(await isAlive(one.ctx.redis, names, earlier)).toBe(false);
  expect(await one.roster.recover()).toEqual([earlier]);
});

test('a worker id can be read: host, process, and that no other is like it', async () => {
  const { one } = await startPair();
  const host = hostname().replaceAll('.', '\\.');
  expect(one.ctx.workerId).toMatch(new RegExp(`^${host}(\\.[0-9a-f]{8})?/${process.pid}/[0-9a-f]{6}$`));
});
