import { expect, test } from 'vitest';
import { createWorld, expectExit, ledgerAndTruth, readResults, writeInput, type KeyPlan } from './support.ts';

test('four keys with different limits are all used up to their limits, and the provider refuses nothing', async () => {
  const keys = [
    { name: 'big', rpm: 60 },
    { name: 'equal', rpm: 60 },
    { name: 'small', rpm: 25 },
    { name: 'tiny', rpm: 5 },
  ];
  const world = await createWorld({ keys });
  // 150 lines fill a window: the third has to be waited for.
  const ids = writeInput(world, { count: 320 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out']), 0);

  expect(readResults(world, ids).errors).toEqual([]);
  const truth = world.truth();
  expect(truth.totals.statuses).toEqual({ 200: ids.length });
  for (const { name, rpm } of keys) expect(truth.keys[name]?.maxInWindow, name).toBe(rpm);
  expect(truth.keys['tiny']?.calls).toBeGreaterThan(5);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('limits of tokens bind as limits of requests do, and are used although estimates begin high', async () => {
  const keys: KeyPlan[] = [
    { name: 'by-tokens', tpm: 3000 },
    { name: 'by-both', rpm: 40, tpm: 1800 },
    { name: 'by-requests', rpm: 20, tpm: 100_000 },
  ];
  const world = await createWorld({ keys });
  const ids = writeInput(world, { count: 170 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out']), 0);

  expect(readResults(world, ids).errors).toEqual([]);
  const truth = world.truth();
  expect(truth.totals.statuses).toEqual({ 200: ids.length });
  expect(truth.keys['by-requests']?.maxInWindow).toBe(20);
  expect(truth.keys['by-both']?.maxInWindow).toBeLessThanOrEqual(40);
  // The provider let in no more than the limit; that it was nearly reached is our doing: what the first answers turned
  // out not to need was used within the same window.
  const used = truth.keys['by-tokens']?.maxTokensInWindow;
  expect(used).toBeLessThanOrEqual(3000);
  expect(used).toBeGreaterThan(2400);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});
