import { expect, test } from 'vitest';
import {
  createWorld,
  expectExit,
  ledgerAndTruth,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
} from './support.ts';

/** What 200 lines cost is between three and six thousandths. */
const count = 200;
const someUsd = 0.001;
const plentyUsd = 1;
const run = ['run', 'in.jsonl', '--out', 'out', '--json'];

test('--budget stops a batch before it costs more, and a larger one finishes it', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count });
  const stopped = await world.nightshift([...run, '--budget', String(someUsd)]);
  expectExit(stopped, 3);
  expect(summaryOf(stopped)).toMatchObject({ status: 'paused', stoppedBy: { code: 'budget' } });
  expect(stopped.stderr).toMatch(/a larger --budget to go on\.\nOr give it to: nightshift resume in --budget <usd>\n$/);
  expect(readManifest(world)).toMatchObject({ status: 'paused', stoppedBy: { code: 'budget' } });
  const spentUsd = world.truth().totals.costNanoUsd / 1e9;
  expect(spentUsd).toBeLessThanOrEqual(someUsd);
  expect(summaryOf(stopped).costUsd).toBeCloseTo(spentUsd, 9);
  // It stops because of the budget, not long before it.
  expect(spentUsd).toBeGreaterThan(someUsd / 2);

  const again = await world.nightshift([...run, '--budget', String(someUsd)]);
  expectExit(again, 3);
  expect(world.truth().totals.costNanoUsd / 1e9).toBeLessThanOrEqual(someUsd);
  expectExit(await world.nightshift([...run, '--budget', String(plentyUsd)]), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('dailyBudgetUsd stops all batches of a day together', async () => {
  const world = await createWorld({ config: { dailyBudgetUsd: someUsd } });
  const ids = writeInput(world, { count });
  const stopped = await world.nightshift(run);
  expectExit(stopped, 3);
  expect(summaryOf(stopped).stoppedBy).toMatchObject({ code: 'budget' });
  expect(stopped.stderr).toMatch(/starts anew at 00:00 UTC, or raise dailyBudgetUsd in the configuration\.\n/);
  expect(stopped.stderr).toMatch(/\nOnce that is done, type the same command again, or: nightshift resume in\n$/);
  const second = await world.nightshift(['run', 'in.jsonl', '--out', 'second', '--json']);
  expectExit(second, 3);
  expect(world.truth().totals.costNanoUsd / 1e9).toBeLessThanOrEqual(someUsd);

  world.configure({ dailyBudgetUsd: plentyUsd });
  expectExit(await world.nightshift(run), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('budgetUsd ends the use of a key before it is overdrawn, and of the batch when no other is left', async () => {
  const world = await createWorld({
    keys: [
      { name: 'poor', configured: { budgetUsd: someUsd / 4 } },
      { name: 'poorer', configured: { budgetUsd: someUsd / 8 } },
    ],
  });
  const ids = writeInput(world, { count });
  const stopped = await world.nightshift(run);
  expectExit(stopped, 3);
  expect(stopped.stderr).toMatch(/raise a key\u2019s budgetUsd in the configuration\.\nOnce that is done, /);
  const { keys } = world.truth();
  expect((keys['poor']?.costNanoUsd ?? 0) / 1e9).toBeLessThanOrEqual(someUsd / 4);
  expect((keys['poorer']?.costNanoUsd ?? 0) / 1e9).toBeLessThanOrEqual(someUsd / 8);
  expect(keys['poorer']?.calls).toBeGreaterThan(0);

  world.configure({}, { poor: { budgetUsd: plentyUsd } });
  expectExit(await world.nightshift(run), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  expect((world.truth().keys['poorer']?.costNanoUsd ?? 0) / 1e9).toBeLessThanOrEqual(someUsd / 8);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});
