/** Lanes before a limiter that the test answers for: only who asks, when and in what order is looked at. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AcquireReply, AcquireRequest } from '../../src/keys/limiter.ts';
import { createLanes, type LaneReply } from '../../workers/lanes.ts';
import { createSeats } from '../../workers/seats.ts';
import { makeKey } from '../keys/world.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

const key = makeKey();
const slot: AcquireReply = { tag: 'slot', key, model: 'm', waitMs: 0, dueAtMs: 0, reservedNanoUsd: 0 };
const wait = (waitMs: number, why = 'rate'): AcquireReply => ({ tag: 'wait', waitMs, why });

function request(line: number): AcquireRequest {
  return {
    batchId: 'b1',
    line,
    attemptId: `${line}`,
    customId: `${line}`,
    requestedModel: 'fast',
    candidates: [],
    estimatedTokens: 0,
    estimatedCostNanoUsd: 0,
    waitingSinceMs: 0,
  };
}

/** `answer` is asked for each line that asks; the lines that asked are in `asked`. */
function setup(
  answer: (line: number) => AcquireReply | Promise<AcquireReply>,
  { longestWaitMs = 10_000, seats = createSeats(1000) } = {},
) {
  const asked: number[] = [];
  const waited: number[] = [];
  const lanes = createLanes(
    async ({ line, waitingSinceMs }) => {
      asked.push(line);
      waited.push(performance.now() - waitingSinceMs);
      return answer(line);
    },
    seats,
    { longestWaitMs, outdatedAfterMs: 60_000 },
  );
  const got = new Map<number, LaneReply | string>();
  const take = (line: number, lane = 'fast', rank?: number) =>
    void lanes.take(lane, request(line), rank).then(
      (reply) => got.set(line, reply),
      (error: Error) => got.set(line, error.message),
    );
  return { lanes, asked, waited, got, take };
}

/** Lets everything happen that needs no time. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

test('a slot is handed on at once', async () => {
  const { got, take } = setup(() => slot);
  take(1);
  await settle();
  expect(got.get(1)).toBe(slot);
});

test('while the front waits, nobody behind it asks', async () => {
  let open = false;
  const { asked, got, take } = setup(() => (open ? slot : wait(500)));
  take(1);
  await settle();
  for (let line = 2; line <= 100; line += 1) take(line);
  await settle();
  expect(asked).toEqual([1]);
  await vi.advanceTimersByTimeAsync(499);
  expect(asked).toEqual([1]);
  open = true;
  await vi.advanceTimersByTimeAsync(1);
  await settle();
  expect(got.size).toBe(100);
});

test('those told to wait stay before those that came later, in order', async () => {
  let free = 0;
  const served: number[] = [];
  const { take, lanes } = setup((line) => {
    if (free === 0) return wait(300, 'inflight');
    free -= 1;
    served.push(line);
    return slot;
  });
  for (let line = 1; line <= 50; line += 1) take(line);
  await settle();
  while (served.length < 50) {
    free = 3;
    lanes.poke();
    await settle();
  }
  expect(served).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
});

test('a crowd asks some at a time', async () => {
  const { asked, take } = setup(() => new Promise(() => {}));
  for (let line = 1; line <= 1000; line += 1) take(line);
  await settle();
  expect(asked.length).toBeLessThan(100);
});

test('lanes do not wait for each other', async () => {
  const { got, take } = setup((line) => (line === 1 ? wait(9000) : slot));
  take(1, 'slow');
  take(2, 'fast');
  await settle();
  expect([...got.keys()]).toEqual([2]);
});

test('the end of a call opens what waits for calls, money or a probe, and not what waits for time', async () => {
  for (const [why, isOpened] of [
    ['inflight', true],
    ['reserved', true],
    ['probe', true],
    ['rate', false],
    ['cooling', false],
  ] as const) {
    const { lanes, asked, take } = setup(() => wait(5000, why));
    take(1);
    await settle();
    lanes.poke();
    await settle();
    expect([why, asked.length]).toEqual([why, isOpened ? 2 : 1]);
    lanes.stop();
  }
});

test('a wait that is too long for a process is handed back', async () => {
  const { got, take } = setup(() => wait(10_001));
  take(1);
  await settle();
  expect(got.get(1)).toEqual(wait(10_001));
});

test.each<AcquireReply>([
  { tag: 'done' },
  { tag: 'halted', status: 'paused' },
  { tag: 'denied', budget: 'day' },
  { tag: 'none', why: 'revoked', comesBackAtMs: null },
])('what no waiting can change is handed on: $tag', async (reply) => {
  const { got, take } = setup(() => reply);
  take(1);
  await settle();
  expect(got.get(1)).toBe(reply);
});

test('an error reaches the one who asked, and the lane goes on', async () => {
  const { got, take } = setup((line) => (line === 1 ? Promise.reject(new Error('no Redis')) : slot));
  take(1);
  take(2);
  await settle();
  take(3);
  await settle();
  expect([...got]).toEqual([
    [1, 'no Redis'],
    [2, slot],
    [3, slot],
  ]);
});

test('a stop sends everyone away: those who wait, those who are asking, and those who come later', async () => {
  const halted = { tag: 'halted', status: 'stopping' };
  const asking = Promise.withResolvers<AcquireReply>();
  const { lanes, got, take } = setup((line) => (line === 1 ? wait(5000) : asking.promise));
  take(1, 'waiting');
  take(2, 'asking');
  await settle();
  lanes.stop();
  take(3);
  await settle();
  expect(got.get(1)).toEqual(halted);
  expect(got.get(3)).toEqual(halted);
  asking.resolve(wait(50));
  await settle();
  expect(got.get(2)).toEqual(halted);
  expect(vi.getTimerCount()).toBe(0);
});

test('a slot that is granted while stopping still reaches its owner, who gives it back', async () => {
  const asking = Promise.withResolvers<AcquireReply>();
  const { lanes, got, take } = setup(() => asking.promise);
  take(1);
  await settle();
  lanes.stop();
  asking.resolve(slot);
  await settle();
  expect(got.get(1)).toBe(slot);
});

/** Slots come free one at a time; who gets each, by lane: lines under 1000 are the first's, the others the second's. */
async function trickle(ranks: [number, number], why: string) {
  let free = 0;
  const served: string[] = [];
  const { take, lanes } = setup((line) => {
    if (free === 0) return wait(300, why);
    free -= 1;
    served.push(line < 1000 ? 'first' : 'second');
    return slot;
  });
  for (let line = 1; line <= 200; line += 1) take(line, 'first', ranks[0]);
  await settle();
  for (let line = 1001; line <= 1020; line += 1) take(line, 'second', ranks[1]);
  await settle();
  for (let turn = 0; turn < 60; turn += 1) {
    free = 1;
    await vi.advanceTimersByTimeAsync(300);
    await settle();
    await settle();
  }
  lanes.stop();
  return served;
}

test.each(['rate', 'inflight', 'claimed'])(
  'lanes take turns, also where one slot comes free at a time: %s',
  async (why) => {
    const served = await trickle([1, 1], why);
    expect(served).toHaveLength(60);
    // Twenty of the second were through by the time that it could have had its half of the slots.
    expect(served.slice(0, 42).filter((lane) => lane === 'second')).toHaveLength(20);
  },
);

test('a lane of higher rank goes first, one of lower rank last', async () => {
  const high = await trickle([1, 2], 'rate');
  expect(high.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 'second'));
  const low = await trickle([1, 0], 'rate');
  expect(low).not.toContain('second');
});

test('lines of lower rank give way to those that wait in other processes, as long as they do', async () => {
  const { lanes, asked, take } = setup(() => slot);
  lanes.giveWay(new Map([['fast', 2]]));
  take(1);
  await settle();
  expect(asked).toEqual([]);
  lanes.giveWay(new Map([['other', 2]]));
  await settle();
  expect(asked).toEqual([1]);
});

test('only what waits for the model is told to other processes, not what lacks a seat here', async () => {
  const seats = createSeats(1);
  const { lanes, take } = setup((line) => (line === 1 ? slot : wait(5000)), { seats });
  take(1);
  await settle();
  take(2);
  await settle();
  expect([...lanes.waiting().ranks]).toEqual([]);
  expect([...lanes.waiting().batchIds]).toEqual(['b1']);
  seats.leave();
  await settle();
  expect([...lanes.waiting().ranks]).toEqual([['fast', 1]]);
  lanes.stop();
});

test('without a free seat nobody asks, and those who wait for a slot take none', async () => {
  const seats = createSeats(3);
  const { asked, take, got } = setup((line) => (line <= 50 ? wait(5000) : slot), { seats });
  for (let line = 1; line <= 50; line += 1) take(line, 'full');
  await settle();
  expect(seats.free()).toBe(3);
  asked.length = 0;
  for (let line = 51; line <= 60; line += 1) take(line, 'open');
  await settle();
  // They keep their seats until their calls have ended.
  expect([...got.keys()]).toEqual([51, 52, 53]);
  seats.leave();
  await settle();
  expect([...got.keys()]).toEqual([51, 52, 53, 54]);
  expect(asked).toEqual([51, 52, 53, 54]);
});

test('only the line at the front claims by how long it has waited, and it keeps its place while it finds new candidates', async () => {
  const { take, got, waited, asked, lanes } = setup(() => wait(1000));
  take(1);
  await settle();
  for (let line = 2; line <= 10; line += 1) take(line);
  await settle();
  waited.length = 0;
  asked.length = 0;
  await vi.advanceTimersByTimeAsync(1000);
  await settle();
  expect(asked[0]).toBe(1);
  // The others have waited for nobody but those before them.
  expect(Math.max(...waited.slice(1))).toBeLessThan(waited[0] as number);
  lanes.refresh();
  await settle();
  expect([...got.values()].every((reply) => typeof reply === 'object' && reply.tag === 'outdated')).toBe(true);
  asked.length = 0;
  take(2);
  await settle();
  for (const line of [3, 1]) take(line);
  await settle();
  await vi.advanceTimersByTimeAsync(1000);
  await settle();
  expect(asked.at(-3)).toBe(1);
  lanes.stop();
});

test('the lines of a batch that stopped are sent away, and no others', async () => {
  const { lanes, got, take } = setup(() => wait(5000));
  take(1);
  await settle();
  expect([...lanes.waiting().batchIds]).toEqual(['b1']);
  lanes.halt('b2', 'paused');
  await settle();
  expect(got.size).toBe(0);
  lanes.halt('b1', 'cancelling');
  await settle();
  expect(got.get(1)).toEqual({ tag: 'halted', status: 'cancelling' });
  expect(lanes.waiting().ranks.size).toBe(0);
});

test('a line that asks while its batch\u2019s are sent away is not forgotten', async () => {
  const asking = Promise.withResolvers<AcquireReply>();
  const { lanes, asked, take } = setup(() => asking.promise);
  take(1);
  await settle();
  lanes.halt('b1', 'paused');
  asking.resolve(wait(100));
  await settle();
  await vi.advanceTimersByTimeAsync(100);
  await settle();
  expect(asked).toEqual([1, 1]);
  lanes.stop();
});
