/** What the windows allow: requests, tokens, and which of several keys is taken. */
import { expect } from 'vitest';
import { cool, testRows } from './acquire-table.ts';

testRows([
  // ── requests ──
  {
    name: 'the first request is sent at once',
    keys: [{ rpm: 1 }],
    steps: [[0, {}, 'slot a']],
  },
  {
    name: 'a full window far from its end says when to ask again: a horizon before the earliest slot',
    keys: [{ rpm: 2 }],
    steps: [
      [0, {}, 'slot a'],
      [0, {}, 'slot a'],
      [0, {}, 'wait 59350 rate'],
      [59_349, {}, 'wait 1 rate'],
    ],
  },
  {
    name: 'a slot within the horizon is reserved',
    keys: [{ rpm: 2 }],
    steps: [
      [0, {}, 'slot a'],
      [200, {}, 'slot a'],
      [59_350, {}, 'slot a +1000'],
      // The second slot comes free 200 ms after the first.
      [59_550, {}, 'slot a +1000'],
      [60_350, {}, 'wait 59300 rate'],
    ],
  },
  {
    name: 'requests of one slice leave together, at its end',
    keys: [{ rpm: 2 }],
    steps: [
      [10, {}, 'slot a'],
      [90, {}, 'slot a'],
      // Counted from the slice's end (100), not from 10 or 90.
      [60_000, {}, 'slot a +350'],
      [60_000, {}, 'slot a +350'],
      [60_000, {}, 'wait 59650 rate'],
    ],
  },
  {
    name: 'nothing is stamped before what is reserved already',
    keys: [{ rpm: 2, tpm: 100 }],
    steps: [
      [0, { tokens: 90 }, 'slot a'],
      [60_000, { tokens: 20 }, 'slot a +350'],
      [60_000, { tokens: 1 }, 'slot a +350'],
    ],
  },
  {
    name: 'after an idle time the whole window is free',
    keys: [{ rpm: 1 }],
    steps: [
      [0, {}, 'slot a'],
      [500_000, {}, 'slot a'],
      [500_000, {}, 'wait 59350 rate'],
    ],
  },
  {
    name: 'a key without limits never waits',
    keys: [{}],
    steps: [
      [0, { tokens: 1e9 }, 'slot a'],
      [0, { tokens: 1e9 }, 'slot a'],
    ],
  },
  {
    // 600 a minute, evenly: so that the first 429 comes alone.
    name: 'a limit that is still to be learnt is taken for a guess, and sends are spaced',
    keys: [{ rpm: 'auto', tpm: 'auto' }],
    steps: [
      [0, {}, 'slot a'],
      [0, {}, 'slot a +100'],
    ],
  },

  // ── tokens ──
  {
    name: 'tokens fill the window to the last one',
    keys: [{ tpm: 100 }],
    steps: [
      [0, { tokens: 60 }, 'slot a'],
      [0, { tokens: 40 }, 'slot a'],
      [0, { tokens: 1 }, 'wait 59350 rate'],
      // Nothing of nothing always fits.
      [0, { tokens: 0 }, 'slot a'],
    ],
  },
  {
    name: 'a large request waits for as many slices as it needs',
    keys: [{ tpm: 100 }],
    steps: [
      [0, { tokens: 40 }, 'slot a'],
      [1000, { tokens: 40 }, 'slot a'],
      [2000, { tokens: 20 }, 'slot a'],
      [60_350, { tokens: 80 }, 'slot a +1000'],
    ],
  },
  {
    name: 'where both are limited, the later one decides',
    keys: [{ rpm: 2, tpm: 100 }],
    steps: [
      [0, { tokens: 10 }, 'slot a'],
      [500, { tokens: 90 }, 'slot a'],
      // A place among the requests at 60,350; among the tokens at 60,850.
      [60_000, { tokens: 20 }, 'slot a +850'],
    ],
  },
  {
    name: 'a request larger than every limit is an error, not a wait',
    keys: [
      { name: 'a', tpm: 100 },
      { name: 'b', tpm: 200 },
    ],
    steps: [
      [0, { tokens: 201 }, 'too_large 200'],
      [0, { tokens: 200 }, 'slot b'],
    ],
  },
  {
    name: 'a large request goes to the key that can hold it, and waits while that one cools',
    keys: [
      { name: 'a', tpm: 100 },
      { name: 'b', tpm: null },
    ],
    steps: [
      [0, { tokens: 500 }, 'slot b'],
      [0, cool('b', 700)],
      [0, { tokens: 500 }, 'wait 700 cooling'],
    ],
  },

  // ── several keys ──
  {
    name: 'among free keys the one with the most relative headroom is taken',
    keys: [
      { name: 'small', rpm: 2 },
      { name: 'large', rpm: 4 },
    ],
    steps: [
      [0, {}, 'slot small'], // both whole
      [0, {}, 'slot large'], // 1/2 and 4/4
      [0, {}, 'slot large'], // 1/2 and 3/4
      [0, {}, 'slot small'], // 1/2 and 2/4: in flight, 1 against 2
      [0, {}, 'slot large'],
      [0, {}, 'slot large'],
      [0, {}, 'wait 59350 rate'],
    ],
  },
  {
    name: 'a budget almost spent makes a key the last choice',
    keys: [
      { name: 'poor', rpm: 10, budgetNanoUsd: 100 },
      { name: 'rich', rpm: 10 },
    ],
    steps: [
      [0, (world) => world.setKey('poor', { spent: 80 })],
      [0, { cost: 1 }, 'slot rich'],
      [0, { cost: 1 }, 'slot rich'],
    ],
  },
  {
    name: 'the earliest slot wins over headroom',
    keys: [
      { name: 'a', rpm: 1 },
      { name: 'b', rpm: 1 },
    ],
    steps: [
      [0, { keys: ['b'] }, 'slot b'],
      [100, { keys: ['a'] }, 'slot a'],
      [60_000, {}, 'slot b +350'],
      [60_000, {}, 'slot a +450'],
    ],
  },
  {
    name: 'keys of one bucket share its window',
    keys: [
      { name: 'a', rpm: 2, bucketId: 'shared' },
      { name: 'b', rpm: 2, bucketId: 'shared' },
      { name: 'c', rpm: 1 },
    ],
    steps: [
      [0, { keys: ['a'] }, 'slot a'],
      [0, { keys: ['b'] }, 'slot b'],
      [0, { keys: ['a', 'b'] }, 'wait 59350 rate'],
      [0, {}, 'slot c'],
    ],
  },
  {
    name: 'each key means another model by the same name',
    keys: [{ name: 'a' }, { name: 'b', maxInFlight: 1 }],
    steps: [
      [
        0,
        async (world) =>
          expect(await world.ask({ keys: ['b'] })).toMatchObject({
            tag: 'slot',
            model: 'model-of-b',
            key: { name: 'b' },
          }),
      ],
    ],
  },
]);
