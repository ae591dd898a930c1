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

test('limits of tokens bind as limits of requests do', async () => {
  const configured = { tpmCounts: 'requested' };
  const keys: KeyPlan[] = [
    { name: 'by-tokens', rpm: null, tpm: 3000, configured },
    { name: 'by-both', rpm: 40, tpm: 1800, configured },
    { name: 'by-requests', rpm: 20, tpm: 100_000, configured },
  ];
  const world = await createWorld({ keys });
  const ids = writeInput(world, { count: 170 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out']), 0);

  expect(readResults(world, ids).errors).toEqual([]);
  const truth = world.truth();
  expect(truth.totals.statuses).toEqual({ 200: ids.length });
  // The window let in nothing beyond the limits, and did not have to: it refused nothing.
  for (const { name, tpm } of keys) expect(truth.keys[name]?.maxTokensInWindow, name).toBeLessThanOrEqual(tpm ?? 0);
  expect(truth.keys['by-requests']?.maxInWindow).toBe(20);
  // Bound by its tokens: far more requests would have fitted.
  expect(truth.keys['by-tokens']?.maxTokensInWindow).toBeGreaterThan(1500);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});
