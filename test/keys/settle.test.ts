/** What settling does to the window, the money, the ledger and the line. What it does to keys: standing.test.ts. */
import { expect, test } from 'vitest';
import { parseIntent } from '../../src/keys/intent.ts';
import { entry, unknownEntry } from '../ledger/entries.ts';
import { testRedis } from '../support/redis.ts';
import { batchId, completed, createWorlds, ledgerOutcomes, read, ref, startMs, type World } from './world.ts';

const redis = testRedis();
const { client } = redis;
const createWorld = createWorlds(redis);

const day = Math.floor(startMs / 86_400_000);
const release = { fate: 'release', act: { kind: 'neutral' }, countsAsAttempt: false } as const;
const unknown = { fate: 'unknown', act: { kind: 'neutral' }, ledger: unknownEntry() } as const;

const batchOf = (world: World) => world.hash(world.names.batch(batchId));
const keyOf = (world: World, name = 'a') => world.hash(world.names.key(`id-${name}`));
const bucketOf = (world: World) => world.hash(world.names.bucket('bucket-a'));
const attemptsOf = (world: World) => world.hash(world.names.attempts(batchId));
const results = (world: World) => client.xrange(world.names.results(batchId), '-', '+');

// ── the window ──

test('the estimate in the window becomes the real number of tokens', async () => {
  const world = await createWorld({ keys: [{ tpm: 100 }] });
  await world.ask({ line: 1, tokens: 80 });
  expect(read(await world.ask({ line: 2, tokens: 50 }))).toMatch(/^wait/);
  world.clock.now += 5000;
  await world.settle(1, { tokens: 30 });
  expect(read(await world.ask({ line: 2, tokens: 50 }))).toBe('slot a');
  // More than was estimated, and more than the limit: the next one waits for it to leave.
  await world.settle(2, { tokens: 90 });
  expect(await bucketOf(world)).toMatchObject({ toks: '120', reqs: '2' });
  world.clock.now = startMs + 60_350;
  expect(read(await world.ask({ tokens: 20 }))).toMatch(/^wait/);
  expect(read(await world.ask({ tokens: 10 }))).toBe('slot a');
});

test('an answer without usage leaves the estimate', async () => {
  const world = await createWorld({ keys: [{ tpm: 100 }] });
  await world.ask({ line: 1, tokens: 80 });
  await world.settle(1, { tokens: null });
  expect(await bucketOf(world)).toMatchObject({ toks: '80' });
});

test('an answer that comes after its slice has left corrects nothing', async () => {
  const world = await createWorld({ keys: [{ tpm: 100 }] });
  await world.ask({ line: 1, tokens: 80 });
  world.clock.now += 70_000;
  await world.ask({ line: 2, tokens: 10 });
  await world.settle(1, { tokens: 5 });
  expect(await bucketOf(world)).toMatchObject({ toks: '10', reqs: '1' });
});

test('a released slot is free again, wholly', async () => {
  const world = await createWorld({ keys: [{ rpm: 1, tpm: 100, maxInFlight: 1, budgetNanoUsd: 100 }] });
  await world.ask({ line: 1, tokens: 100, cost: 100 });
  await world.settle(1, release);
  expect(await keyOf(world)).toMatchObject({ inflight: '0', reserved: '0' });
  expect(await client.hlen(world.names.inflight)).toBe(0);
  expect(await ledgerOutcomes(world)).toEqual([]);
  expect(await attemptsOf(world)).toEqual({});
  expect(read(await world.ask({ line: 1, tokens: 100, cost: 100 }))).toBe('slot a');
});

// ── money ──

test('reserved money becomes spent money on the key, the batch and the day', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  await world.ask({ line: 2, cost: 70 });
  expect(await keyOf(world)).toMatchObject({ inflight: '2', reserved: '570' });
  await world.settle(1, { costNanoUsd: 420 });
  expect(await keyOf(world)).toMatchObject({ inflight: '1', reserved: '70', spent: '420' });
  expect(await batchOf(world)).toMatchObject({ reserved: '70', spent: '420' });
  expect(await world.hash(world.names.spend)).toEqual({ reserved: '70', [`spent:${day}`]: '420' });
});

test('money is spent on the day of the answer', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  world.clock.now += 12 * 3_600_000;
  await world.settle(1, { costNanoUsd: 420 });
  expect(await world.hash(world.names.spend)).toEqual({ reserved: '0', [`spent:${day + 1}`]: '420' });
});

test.each([
  { name: 'a cost that nobody told is what was reserved', call: { mayHaveCost: true }, spent: '500', unsure: '500' },
  { name: 'a call that surely cost nothing', call: {}, spent: undefined, unsure: undefined },
  { name: 'a known cost', call: { mayHaveCost: true, costNanoUsd: 420 }, spent: '420', unsure: undefined },
  { name: 'a cost known to be none', call: { mayHaveCost: true, costNanoUsd: 0 }, spent: undefined, unsure: undefined },
])('of what is reserved stays spent, once: $name', async ({ call, spent, unsure }) => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  await world.settle(1, { ...call, end: completed() });
  await world.settle(1, { ...call, end: completed() });
  const key = await keyOf(world);
  const batch = await batchOf(world);
  expect([key['reserved'], batch['reserved']]).toEqual(['0', '0']);
  expect([key['spent'], batch['spent'], batch['unsure']]).toEqual([spent, spent, unsure]);
  expect((await world.hash(world.names.spend))[`spent:${day}`]).toBe(spent);
  expect(batch['possiblyBilled']).toBeUndefined();
});

test('a budget is reached by calls whose cost nobody told', async () => {
  const world = await createWorld({ keys: [{ budgetNanoUsd: 1000 }] });
  for (const line of [1, 2]) {
    expect(read(await world.ask({ line, cost: 500 }))).toBe('slot a');
    await world.settle(line, { mayHaveCost: true });
  }
  expect(read(await world.ask({ line: 3, cost: 500 }))).toMatch(/^(?:denied key|none exhausted)/);
});

test('settling twice is settling once', async () => {
  const world = await createWorld({ keys: [{ tpm: 100 }] });
  await world.ask({ line: 1, tokens: 80, cost: 500 });
  const answer = { tokens: 30, costNanoUsd: 420, ledger: entry(), end: completed() };
  expect(await world.settle(1, answer)).toMatchObject({ settled: true, ended: true });
  const before = [await keyOf(world), await batchOf(world), await bucketOf(world)];
  expect(await world.settle(1, answer)).toMatchObject({ settled: false, ended: false });
  expect([await keyOf(world), await batchOf(world), await bucketOf(world)]).toEqual(before);
  expect(await ledgerOutcomes(world)).toEqual(['completed']);
  expect(await results(world)).toHaveLength(1);
});

test('an earlier attempt of a line does not settle the one in flight', async () => {
  const world = await createWorld();
  await world.ask({ line: 1, cost: 500 });
  expect(await world.settle(1, { attempt: 'earlier', costNanoUsd: 1 })).toMatchObject({ settled: false });
  expect(await keyOf(world)).toMatchObject({ inflight: '1', reserved: '500' });
});

// ── the line ──

test('a line ends once, whoever ends it first', async () => {
  const world = await createWorld();
  await world.ask({ line: 1 });
  await world.settle(1, unknown);
  await world.ask({ line: 1, attempt: 'second' });
  const ends = await Promise.all([
    world.settle(1, { attempt: 'second', end: completed({ text: 'first' }) }),
    world.settle(1, { attempt: '1.1', end: completed({ to: 'error', text: 'late', errorCode: 'failed' }) }),
  ]);
  expect(ends.map(({ ended }) => ended)).toEqual([true, false]);
  expect((await results(world)).map(([, fields]) => fields)).toEqual([['t', 'o', 'l', '1', 'r', 'first']]);
  expect(await client.getbit(world.names.done(batchId), 1)).toBe(1);
  const { completed: count, failed } = await batchOf(world);
  expect({ count, failed }).toEqual({ count: '1', failed: undefined });
});

test('a line can end without a call', async () => {
  const { createSettle } = await import('../../src/keys/settle.ts');
  const world = await createWorld();
  const settle = createSettle({ redis: client, names: world.names });
  const end = completed({ to: 'error', text: 'never', errorCode: 'batch_expired' });
  const reply = await settle({ batchId, line: 3, call: null, end });
  expect(reply).toEqual({ settled: false, ended: true, attemptsSpent: 0, standing: null });
  expect(await batchOf(world)).toMatchObject({ failed: '1', 'error:batch_expired': '1' });
});

test('the batch counts results, bytes, tokens and errors by their code', async () => {
  const world = await createWorld();
  for (const line of [1, 2, 3, 4]) await world.ask({ line });
  const failed = { to: 'error', errorCode: 'bad_request', inputTokens: null, outputTokens: null } as const;
  await world.settle(1, { end: completed({ text: 'zwölf' }) });
  await world.settle(2, { end: completed({ text: 'ab', inputTokens: 10, outputTokens: null }) });
  await world.settle(3, { end: completed({ ...failed, text: 'abc' }) });
  await world.settle(4, { end: completed({ ...failed, text: 'abcd' }) });
  expect(await batchOf(world)).toMatchObject({
    completed: '2',
    failed: '2',
    inputTokens: '17',
    outputTokens: '5',
    'error:bad_request': '2',
  });
});

test('attempts are counted while a line is unfinished, and forgotten at its end', async () => {
  const world = await createWorld();
  const spend = async (counts: boolean) => {
    await world.ask({ line: 1 });
    return (await world.settle(1, { countsAsAttempt: counts })).attemptsSpent;
  };
  expect([await spend(true), await spend(true), await spend(false)]).toEqual([1, 2, 0]);
  expect(await attemptsOf(world)).toEqual({ 1: '2' });
  await world.ask({ line: 1 });
  await world.settle(1, { end: completed() });
  expect(await attemptsOf(world)).toEqual({});
});

// ── the intent ──

test('the intent holds what is needed if the worker dies, whatever the texts contain', async () => {
  const world = await createWorld({ keys: [{ rpm: 5 }], workerId: 'host/1/ab' });
  world.clock.now += 17;
  await world.ask({ line: 12, attempt: 'b1-12.0' });
  const packed = (await client.hget(world.names.inflight, ref(12))) as string;
  expect(parseIntent(ref(12), packed)).toEqual({
    ref: 'b1-12',
    batchId: 'b1',
    line: 12,
    attemptId: 'b1-12.0',
    workerId: 'host/1/ab',
    keyId: 'id-a',
    bucketId: 'bucket-a',
    sentAtMs: startMs + 17,
    isReserved: false,
    model: 'model-of-a',
    customId: 'request-12',
    requestedModel: 'fast',
  });
  const odd = { customId: 'tab\there\nand "quotes" \u2028 ü', requestedModel: 'a\tb' };
  const fields = ['at', 'w', 'k', 'b', '1', '2', '3', '4', 'm', '0', '0', JSON.stringify(odd)].join('\t');
  expect(parseIntent('b1-2', fields)).toMatchObject(odd);
});
