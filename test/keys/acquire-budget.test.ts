/** What the budgets of key, batch and day allow. */
import { setBatch, settle, testRows } from './acquire-table.ts';

testRows([
  // ── money ──
  {
    name: 'a key over its budget is passed over; alone, it is denied',
    keys: [{ name: 'a', budgetNanoUsd: 100 }, { name: 'b' }],
    steps: [
      [0, (world) => world.setKey('a', { spent: 95 })],
      [0, { cost: 6 }, 'slot b'],
      [0, { cost: 6, keys: ['a'] }, 'denied key'],
      // To the last billionth.
      [0, { cost: 5, keys: ['a'] }, 'slot a'],
    ],
  },
  {
    name: 'money that calls in flight may give back is waited for',
    keys: [{ budgetNanoUsd: 100 }],
    steps: [
      [0, { line: 1, cost: 60 }, 'slot a'],
      [0, { line: 2, cost: 60 }, 'wait 200 reserved'],
      [0, settle(1, { costNanoUsd: 40 })],
      [0, { line: 2, cost: 60 }, 'slot a'],
    ],
  },
  {
    name: 'money that calls in flight have spent is gone',
    keys: [{ budgetNanoUsd: 100 }],
    steps: [
      [0, { line: 1, cost: 60 }, 'slot a'],
      [0, settle(1, { costNanoUsd: 60 })],
      [0, { cost: 60 }, 'denied key'],
    ],
  },
  {
    name: 'the batch has a budget of its own',
    keys: [{ name: 'a' }, { name: 'b' }],
    batch: { budget: 100 },
    steps: [
      [0, { line: 1, cost: 70 }, 'slot a'],
      [0, { cost: 40 }, 'wait 200 reserved'],
      [0, { cost: 30 }, 'slot b'],
      [0, settle(1, { costNanoUsd: 70 })],
      [0, { cost: 31 }, 'denied batch'],
      [0, setBatch({ budget: 200 })],
      [0, { cost: 31 }, 'slot a'],
    ],
  },
  {
    name: 'the day has a budget, which begins anew at midnight UTC',
    dayBudgetNanoUsd: 100,
    steps: [
      [0, { line: 1, cost: 100 }, 'slot a'],
      [0, { cost: 1 }, 'wait 200 reserved'],
      [0, settle(1, { costNanoUsd: 100 })],
      [0, { cost: 1 }, 'denied day'],
      [12 * 3_600_000 - 1, { cost: 1 }, 'denied day'],
      [12 * 3_600_000, { cost: 1 }, 'slot a'],
    ],
  },
  {
    name: 'what costs nothing is sent though the budget is spent',
    keys: [{ budgetNanoUsd: 100 }],
    batch: { budget: 100, spent: 100 },
    steps: [
      [0, (world) => world.setKey('a', { spent: 100 })],
      [0, { cost: 0 }, 'slot a'],
      [0, { cost: 1 }, 'denied batch'],
    ],
  },
]);
