import { describe, expect, test } from 'vitest';
import { createBudgetWatch, type Spend } from '../../src/batch/budget-watch.ts';
import { createWorld, expectExit, summaryOf, writeInput } from '../e2e/support.ts';

const usd = 1e9;
const spend = (spentUsd: number, more: Partial<Spend> = {}): Spend => ({
  id: 'batch:1',
  whose: 'batch tonight',
  setting: '--budget',
  spentNanoUsd: spentUsd * usd,
  budgetNanoUsd: 10 * usd,
  ...more,
});

describe('a budget watch', () => {
  test('tells of each level once, when it is reached', () => {
    const watch = createBudgetWatch();
    const levels = [0, 4.99, 5, 5, 7, 8, 8.5, 9.49, 9.5, 10, 11].map((spent) =>
      watch([spend(spent)]).map(({ level }) => level),
    );
    expect(levels).toEqual([[], [], [50], [], [], [80], [], [], [95], [], []]);
  });

  test('tells of the highest level alone when several are passed at once', () => {
    const watch = createBudgetWatch();
    expect(watch([spend(9.9)]).map(({ level }) => level)).toEqual([95]);
    expect(watch([spend(9.9)])).toEqual([]);
  });

  test('says whose budget it is, how much is spent, and what makes it larger', () => {
    const [warning] = createBudgetWatch()([spend(8.128)]);
    expect(warning?.message).toBe('batch tonight has spent 81 % of its budget: $8.13 of $10.00 (--budget)');
  });

  test('keeps budgets apart, and takes the next day for another one', () => {
    const watch = createBudgetWatch();
    expect(watch([spend(6), spend(9, { id: 'key:a' }), spend(1, { id: 'key:b' })])).toHaveLength(2);
    expect(watch([spend(6, { id: 'day:1' })])).toHaveLength(1);
    expect(watch([spend(6, { id: 'day:1' }), spend(0, { id: 'day:2' })])).toEqual([]);
    expect(watch([spend(6, { id: 'day:2' })])).toHaveLength(1);
  });

  test('stays silent about a budget that was raised', () => {
    const watch = createBudgetWatch();
    expect(watch([spend(9)])).toHaveLength(1);
    expect(watch([spend(9, { budgetNanoUsd: 100 * usd })])).toEqual([]);
    expect(watch([spend(81, { budgetNanoUsd: 100 * usd })])).toEqual([]);
    expect(watch([spend(95, { budgetNanoUsd: 100 * usd })])).toHaveLength(1);
  });
});

test('a run tells of the batch’s, the key’s and the day’s budget, each level once', async () => {
  const someUsd = 0.001;
  const world = await createWorld({
    keys: [{ name: 'only', configured: { budgetUsd: someUsd * 1.15 } }],
    config: { dailyBudgetUsd: someUsd * 1.6 },
  });
  writeInput(world, { count: 200 });
  const run = ['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '4', '--budget', String(someUsd)];
  const stopped = await world.nightshift(run);
  expectExit(stopped, 3);
  const warnings = stopped.stderr.split('\n').filter((line) => line.includes('of its budget'));
  const of = (whose: string) => warnings.filter((line) => line.startsWith(`nightshift: ${whose} has spent `));
  expect(of('batch in').at(-1)).toMatch(/ (9[5-9]|100) % of its budget: \$0\.0\d+ of \$0\.001 \(--budget\)$/);
  expect(of('key only').at(-1)).toMatch(/ 8\d % .* \(budgetUsd\)$/);
  expect(of('this day').at(-1)).toMatch(/ [56]\d % .* \(dailyBudgetUsd\)$/);
  expect(new Set(warnings).size).toBe(warnings.length);
  expect([of('batch in').length <= 3, of('key only').length <= 2, of('this day').length]).toEqual([true, true, 1]);

  // As a program reads it, of the run that goes on.
  const again = await world.nightshift(['--log-level', 'warn', ...run]);
  expectExit(again, 3);
  const logged = again.stderr.split('\n').filter((line) => line.includes('of its budget'));
  expect(logged.map((line) => JSON.parse(line) as object)).toContainEqual(
    expect.objectContaining({ level: 40, batchId: summaryOf(again).batchId, budgetPercent: 95 }),
  );
});
