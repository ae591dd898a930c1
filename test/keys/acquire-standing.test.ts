/** What a key’s standing, its calls in flight and its line allow. */
import { expect } from 'vitest';
import { cool, retire, setBatch, settle, testRows } from './acquire-table.ts';
import { batchId, read } from './world.ts';

testRows([
  // ── standings ──
  {
    name: 'a cooling key is passed over; alone, it is waited for',
    keys: [
      { name: 'a', rpm: 5 },
      { name: 'b', rpm: 5 },
    ],
    steps: [
      [0, cool('a', 4000)],
      [0, {}, 'slot b'],
      [0, { keys: ['a'] }, 'wait 4000 cooling'],
      [0, cool('b', 3000)],
      [0, {}, 'wait 3000 cooling'],
    ],
  },
  {
    name: 'half-open lets exactly one through, and the others when that one is answered',
    keys: [{}],
    steps: [
      [0, cool('a', 500)],
      [499, {}, 'wait 1 cooling'],
      [500, { line: 1 }, 'slot a'],
      [500, {}, 'wait 200 probe'],
      // Long after: no time opens it, only the answer.
      [90_000, {}, 'wait 200 probe'],
      [90_000, settle(1)],
      [90_000, {}, 'slot a'],
      [90_000, {}, 'slot a'],
    ],
  },
  {
    name: 'two that ask a half-open key at once are one probe and one wait',
    keys: [{}],
    steps: [
      [0, cool('a', 1)],
      [
        1,
        async (world) =>
          expect((await Promise.all([world.ask(), world.ask()])).map(read)).toEqual(['slot a', 'wait 200 probe']),
      ],
    ],
  },
  {
    name: 'a probe that says nothing about the key leaves it half-open for the next one',
    keys: [{}],
    steps: [
      [0, cool('a', 1)],
      [1, { line: 1 }, 'slot a'],
      [1, settle(1, { act: { kind: 'neutral' } })],
      [1, { line: 2 }, 'slot a'],
      [1, {}, 'wait 200 probe'],
      [1, settle(2, { fate: 'unknown' })],
      [1, { line: 3 }, 'slot a'],
      [1, settle(3, { fate: 'release', act: { kind: 'neutral' } })],
      [1, {}, 'slot a'],
    ],
  },
  {
    name: 'a retired key says when it comes back, where that is known',
    keys: [{ name: 'a' }, { name: 'b' }],
    steps: [
      [0, retire('a', 'revoked')],
      [0, { keys: ['a'] }, 'none revoked'],
      [0, {}, 'slot b'],
      [0, retire('b', 'exhausted', 90_000)],
      [0, {}, 'none revoked, back +90000'],
      [0, retire('a', 'org_exhausted', 50_000)],
      [0, {}, 'none org_exhausted, back +50000'],
      // Back half-open.
      [50_000, {}, 'slot a'],
      [50_000, {}, 'wait 200 probe'],
    ],
  },
  {
    name: 'a draining key takes nothing more',
    keys: [{ name: 'a' }, { name: 'b' }],
    steps: [
      [0, (world) => world.setKey('a', { standing: 'draining' })],
      [0, {}, 'slot b'],
      [0, { keys: ['a'] }, 'none draining'],
    ],
  },
  {
    name: 'a cooling key is worth waiting for where the other is retired',
    keys: [{ name: 'a' }, { name: 'b' }],
    steps: [
      [0, cool('a', 4000)],
      [0, retire('b', 'revoked')],
      [0, {}, 'wait 4000 cooling'],
    ],
  },
  { name: 'a request that no key may serve is told so', steps: [[0, { keys: [] }, 'none no key']] },

  // ── calls in flight ──
  {
    name: 'no more calls are in flight than the key allows',
    keys: [{ maxInFlight: 2, rpm: 100 }],
    steps: [
      [0, { line: 1 }, 'slot a'],
      [0, { line: 2 }, 'slot a'],
      [0, {}, 'wait 200 inflight'],
      [0, settle(1)],
      [0, {}, 'slot a'],
      [0, {}, 'wait 200 inflight'],
    ],
  },

  // ── batch and line ──
  {
    name: 'a batch that does not send says its status',
    batch: { status: 'paused' },
    steps: [
      [0, {}, 'halted paused'],
      [0, { batch: 'nobody' }, 'halted missing'],
      [0, setBatch({ status: 'in_progress' })],
      [0, {}, 'slot a'],
    ],
  },
  {
    name: 'a line that has ended is not sent again, even in a batch that is over',
    batch: { status: 'completed' },
    steps: [
      [0, (world) => world.redis.setbit(world.names.done(batchId), 7, 1)],
      [0, { line: 7 }, 'done'],
      [0, { line: 8 }, 'halted completed'],
    ],
  },
  {
    name: 'the same ask again gets the same slot, and takes no second one',
    keys: [
      { name: 'a', rpm: 1 },
      { name: 'b', rpm: 1 },
    ],
    steps: [
      [0, { keys: ['a'] }, 'slot a'],
      [60_000, { line: 7, attempt: '7.1', keys: ['a'], cost: 5 }, 'slot a +350'],
      [60_100, { line: 7, attempt: '7.1', cost: 5 }, 'slot a +250'],
      // Its time is past, but it was reserved: the caller must say first that it uses it.
      [99_000, { line: 7, attempt: '7.1', cost: 5 }, 'slot a +1'],
      [
        99_000,
        async (world) => {
          expect(await world.hash(world.names.key('id-a'))).toMatchObject({ inflight: '2', reserved: '5' });
          expect(await world.hash(world.names.bucket('bucket-a'))).toMatchObject({ reqs: '1' });
        },
      ],
      // Whose slot else would it be? Its owner would never give it back.
      [99_000, setBatch({ status: 'paused' })],
      [99_000, { line: 7, attempt: '7.1', cost: 5 }, 'slot a +1'],
      [99_000, { line: 7, attempt: '7.2', cost: 5 }, 'halted paused'],
    ],
  },
  {
    name: 'a line whose last call was never settled says which one that was',
    keys: [{}],
    steps: [
      [0, { line: 7, attempt: '7.1' }, 'slot a'],
      [0, { line: 7, attempt: '7.2' }, 'stale 7.1'],
      [0, settle(7, { fate: 'unknown' })],
      [0, { line: 7, attempt: '7.2' }, 'slot a'],
    ],
  },
  {
    // They travel in one call of the script, which writes at its end.
    name: 'a line that is asked for twice at the same moment gets one slot',
    keys: [{}],
    steps: [
      [
        0,
        async (world) => {
          const asks = ['7.1', '7.2', '7.1'].map((attempt) => world.ask({ line: 7, attempt, cost: 5 }));
          expect((await Promise.all(asks)).map(read)).toEqual(['slot a', 'stale 7.1', 'slot a']);
          expect(await world.hash(world.names.key('id-a'))).toMatchObject({ inflight: '1', reserved: '5' });
        },
      ],
    ],
  },
]);
