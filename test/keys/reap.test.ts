/** Calls whose sender died: who gives them up, when, and how often. */
import { expect, test } from 'vitest';
import { reapIntents } from '../../src/keys/reap.ts';
import { createSettle } from '../../src/keys/settle.ts';
import { registerKeys } from '../../src/keys/standing.ts';
import { createLog } from '../../src/log.ts';
import { testRedis } from '../support/redis.ts';
import { batchId, completed, createWorlds, startMs, type World } from './world.ts';

const redis = testRedis();
const { client } = redis;
const createWorld = createWorlds(redis);

const reapingOf = ({ names, clock }: World) => ({
  redis: client,
  names,
  settle: createSettle({ redis: client, names, now: () => clock.now }),
  log: createLog('silent'),
});
const isDead =
  (...workers: string[]) =>
  (workerId: string) =>
    workers.includes(workerId);

async function ledger({ names }: World): Promise<Record<string, unknown>[]> {
  const entries = await client.xrange(names.ledger(batchId), '-', '+');
  return entries.map(([, fields]) => JSON.parse(fields[1] as string) as Record<string, unknown>);
}

test('the calls of a dead worker become rows `unknown`, once; those of a living one never', async () => {
  const world = await createWorld({ keys: [{ rpm: 10 }], workerId: 'dead' });
  const living = world.other({ workerId: 'living' });
  await registerKeys(client, world.names, world.keys);
  await world.ask({ line: 1, attempt: 'b1-1.0', cost: 40 });
  await world.ask({ line: 2, cost: 30 });
  await living.ask({ line: 3, cost: 5 });
  const reaping = reapingOf(world);
  expect(await reapIntents(reaping, isDead('dead'))).toBe(2);
  expect(await reapIntents(reaping, isDead('dead'))).toBe(0);
  expect(await client.hkeys(world.names.inflight)).toEqual(['b1-3']);
  expect(await world.hash(world.names.key('id-a'))).toMatchObject({ inflight: '1', reserved: '5', spent: '70' });
  const rows = await ledger(world);
  expect(new Set(rows.map(({ line }) => line))).toEqual(new Set([1, 2]));
  expect(rows.find(({ line }) => line === 1)).toMatchObject({
    attemptId: 'b1-1.0',
    batchId,
    customId: 'request-1',
    provider: 'sim',
    keyId: 'id-a',
    keyName: 'a',
    requestedModel: 'fast',
    resolvedModel: 'model-of-a',
    outcome: 'unknown',
    startedAtMs: startMs,
    costNanoUsd: null,
    costSource: 'none',
  });
});

test('two reapers at once give each call up once', async () => {
  const world = await createWorld({ workerId: 'dead' });
  for (let line = 1; line <= 40; line += 1) await world.ask({ line });
  const counts = await Promise.all([1, 2].map(() => reapIntents(reapingOf(world), isDead('dead'))));
  expect(counts[0]! + counts[1]!).toBe(40);
  expect(await ledger(world)).toHaveLength(40);
});

test('more calls than one look shows are all found', async () => {
  const world = await createWorld({ workerId: 'dead' });
  await Promise.all(Array.from({ length: 1500 }, () => world.ask()));
  expect(await reapIntents(reapingOf(world), isDead('dead'))).toBe(1500);
  expect(await client.hlen(world.names.inflight)).toBe(0);
});

test('a probe whose worker died frees the half-open key for the next one', async () => {
  const world = await createWorld({ workerId: 'dead' });
  await world.setKey('a', { standing: 'cooling', until: startMs });
  await world.ask({ line: 1 });
  expect(await world.ask()).toMatchObject({ tag: 'wait', why: 'probe' });
  await reapIntents(reapingOf(world), isDead('dead'));
  expect(await world.ask()).toMatchObject({ tag: 'slot' });
});

test('a worker that was only asleep still ends its line, and its row is replaced', async () => {
  const world = await createWorld({ workerId: 'asleep' });
  await world.ask({ line: 1, cost: 40 });
  await reapIntents(reapingOf(world), isDead('asleep'));
  expect(await world.settle(1, { costNanoUsd: 25, end: completed() })).toMatchObject({ settled: true, ended: true });
  expect(await world.hash(world.names.key('id-a'))).toMatchObject({ inflight: '0', reserved: '0', spent: '25' });
});
