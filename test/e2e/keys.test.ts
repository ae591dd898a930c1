import { expect, test } from 'vitest';
import { createWorld, expectExit, ledgerAndTruth, readManifest, readResults, writeInput } from './support.ts';

const concurrency = 20;

test('a key that is revoked and one that runs out of money leave the batch to the others', async () => {
  const world = await createWorld({
    keys: [{ name: 'a' }, { name: 'b' }, { name: 'c' }, { name: 'd' }],
    scenario: {
      events: [
        { afterCalls: 80, do: { change: 'revoke_key', key: 'a' } },
        { afterCalls: 120, do: { change: 'set_key_budget', key: 'c', budgetUsd: 0.000001 } },
      ],
    },
  });
  const ids = writeInput(world, { count: 300 });
  const args = ['run', 'in.jsonl', '--out', 'out', '--concurrency', String(concurrency)];
  expectExit(await world.nightshift(args), 0);

  expect(readResults(world, ids).errors).toEqual([]);
  const truth = world.truth();
  expect(truth.events).toEqual({ applied: 2, failed: [] });
  // The first refusal ends the sending: what comes after it was in flight then.
  const refused = { a: truth.keys['a']?.statuses['401'] ?? 0, c: truth.keys['c']?.statuses['402'] ?? 0 };
  expect(refused.a).toBeGreaterThan(0);
  expect(refused.a).toBeLessThanOrEqual(concurrency);
  expect(refused.c).toBeGreaterThan(0);
  expect(truth.keys['c']?.callsAfter402).toBeLessThan(concurrency);

  const manifest = readManifest(world);
  const outcomes = Object.fromEntries(manifest.keys.map(({ name, byOutcome }) => [name, byOutcome]));
  expect(manifest.counts).toEqual({ total: 300, completed: 300, failed: 0 });
  expect(outcomes['a']).toEqual({ completed: truth.keys['a']?.answered, unauthorized: refused.a });
  expect(outcomes['c']).toEqual({ completed: truth.keys['c']?.answered, exhausted: refused.c });
  expect(Object.keys(outcomes['b'] ?? {})).toEqual(['completed']);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('with its last key revoked a batch stops with exit code 4, and goes on when the key is back', async () => {
  const world = await createWorld({
    keys: [{ name: 'only' }],
    scenario: { events: [{ afterCalls: 30, do: { change: 'revoke_key', key: 'only' } }] },
  });
  const ids = writeInput(world, { count: 100 });
  const args = ['run', 'in.jsonl', '--out', 'out', '--concurrency', String(concurrency)];
  const stopped = await world.nightshift(args);
  expectExit(stopped, 4);
  expect(stopped.stderr).toContain('only revoked');
  world.simulator.control({ change: 'restore_key', key: 'only' });
  expectExit(await world.nightshift(args), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});
