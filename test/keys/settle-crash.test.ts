/** Calls whose answer was lost, came late, or was to a call that Redis has forgotten. */
import { expect, test } from 'vitest';
import type { KeyAct } from '../../src/keys/settle.ts';
import { entry, unknownEntry } from '../ledger/entries.ts';
import { testRedis } from '../support/redis.ts';
import { batchId, completed, createWorlds, ledgerOutcomes, startMs, type World } from './world.ts';

const redis = testRedis();
const { client } = redis;
const createWorld = createWorlds(redis);

const day = Math.floor(startMs / 86_400_000);
const release = { fate: 'release', act: { kind: 'neutral' }, countsAsAttempt: false } as const;
const unknown = { fate: 'unknown', act: { kind: 'neutral' }, ledger: unknownEntry() } as const;

const batchOf = (world: World) => world.hash(world.names.batch(batchId));
const keyOf = (world: World) => world.hash(world.names.key('id-a'));
const attemptsOf = (world: World) => world.hash(world.names.attempts(batchId));

test('a call whose sender died is spent by its estimate and possibly billed', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  expect(await world.settle(1, unknown)).toMatchObject({ settled: true, attemptsSpent: 1 });
  expect(await world.settle(1, unknown)).toMatchObject({ settled: false, attemptsSpent: 1 });
  expect(await keyOf(world)).toMatchObject({ inflight: '0', reserved: '0', spent: '500' });
  expect(await batchOf(world)).toMatchObject({ possiblyBilled: '1', reserved: '0', spent: '500', unsure: '500' });
  expect(await ledgerOutcomes(world)).toEqual(['unknown']);
  expect(await client.pttl(world.names.reaped)).toBeGreaterThan(0);
});

test('its late answer replaces the money and the ledger row, once', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  await world.settle(1, unknown);
  const late = { costNanoUsd: 420, ledger: entry(), end: completed() };
  expect(await world.settle(1, late)).toMatchObject({ settled: true, ended: true });
  expect(await world.settle(1, late)).toMatchObject({ settled: false, ended: false });
  expect(await keyOf(world)).toMatchObject({ inflight: '0', reserved: '0', spent: '420' });
  expect(await batchOf(world)).toMatchObject({ possiblyBilled: '0', reserved: '0', spent: '420', unsure: '0' });
  expect(await world.hash(world.names.spend)).toEqual({ reserved: '0', [`spent:${day}`]: '420' });
  expect(await ledgerOutcomes(world)).toEqual(['unknown', 'completed']);
});

test('a late answer that names no cost leaves the assumed one, but for a refusal, which costs nothing', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  await world.ask({ line: 2, cost: 300 });
  await world.settle(1, unknown);
  await world.settle(2, unknown);
  await world.settle(1, { ledger: entry(), mayHaveCost: true });
  expect(await batchOf(world)).toMatchObject({ spent: '800', unsure: '800', possiblyBilled: '1' });
  await world.settle(2, { ledger: entry({ outcome: 'rate_limited' }) });
  expect(await keyOf(world)).toMatchObject({ spent: '500' });
  expect(await batchOf(world)).toMatchObject({ spent: '500', unsure: '500', possiblyBilled: '0' });
});

test('what comes late is corrected in the budget of the day on which it was spent', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  await world.settle(1, unknown);
  world.clock.now += 86_400_000;
  await world.settle(1, { costNanoUsd: 420, ledger: entry(), end: completed() });
  expect(await world.hash(world.names.spend)).toEqual({ reserved: '0', [`spent:${day}`]: '420' });
});

test('a late 202 has its line wait for the approval, unless the line has ended', async () => {
  const world = await createWorld();
  for (const line of [1, 2]) {
    await world.ask({ line });
    await world.settle(line, unknown);
  }
  await client.setbit(world.names.done(batchId), 2, 1);
  for (const line of [1, 2]) await world.settle(line, { hold: `approval-${line}`, ledger: entry({ outcome: 'held' }) });
  expect(await world.hash(world.names.held(batchId))).toEqual({ 1: 'approval-1' });
});

test('a late 402 closes the keys that it is about, unless a person has opened them since', async () => {
  const world = await createWorld();
  const retire: KeyAct = { kind: 'retire', reason: 'org_exhausted', backInMs: null, keyIds: ['id-a'] };
  await world.ask({ line: 1 });
  await world.ask({ line: 2 });
  await world.settle(1, unknown);
  await world.settle(2, unknown);
  expect(await world.settle(1, { act: retire })).toMatchObject({ settled: true, standing: { now: 'retired' } });
  expect(await world.ask({ line: 1 })).toMatchObject({ tag: 'none' });
  const reopened = world.clock.now + 1;
  await world.setKey('a', { standing: 'active', reopened });
  expect(await world.settle(2, { act: retire })).toMatchObject({ settled: true, standing: null });
  expect(await keyOf(world)).toMatchObject({ standing: 'active' });
});

test('a late answer is not a second attempt', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.settle(1, unknown);
  expect(await world.settle(1, { ledger: entry({ outcome: 'failed' }) })).toMatchObject({ attemptsSpent: 1 });
  expect(await attemptsOf(world)).toEqual({ 1: '1' });
});

test('a slot given up as lost and then released, because it was never used, costs nothing', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  await world.settle(1, unknown);
  await world.settle(1, release);
  expect(await keyOf(world)).toMatchObject({ inflight: '0', reserved: '0', spent: '0' });
  expect(await batchOf(world)).toMatchObject({ spent: '0', unsure: '0' });
});

test('an answer to a call that Redis has forgotten is booked all the same', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  // A crash lost the last second, and the grant with it.
  await client.unlink(world.names.inflight, world.names.key('id-a'), world.names.spend);
  await client.hdel(world.names.batch(batchId), 'reserved');
  const answer = { costNanoUsd: 420, ledger: entry(), end: completed() };
  expect(await world.settle(1, answer)).toMatchObject({ settled: true, ended: true });
  expect(await world.settle(1, answer)).toMatchObject({ settled: false, ended: false });
  expect(await keyOf(world)).toEqual({ spent: '420' });
  expect(await ledgerOutcomes(world)).toEqual(['completed']);
});

test('a call given up after its line has ended leaves no count behind', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await client.setbit(world.names.done(batchId), 1, 1);
  await world.settle(1, unknown);
  expect(await attemptsOf(world)).toEqual({});
});
