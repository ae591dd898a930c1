/** Lanes before a limiter that the test answers for: only who asks, when and in what order is looked at. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AcquireReply, AcquireRequest } from '../../src/keys/limiter.ts';
import { createLanes, type LaneReply } from '../../workers/lanes.ts';
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
function setup(answer: (line: number) => AcquireReply | Promise<AcquireReply>, longestWaitMs = 10_000) {
  const asked: number[] = [];
  const lanes = createLanes(
    async ({ line }) => {
      asked.push(line);
      return answer(line);
    },
    { longestWaitMs, outdatedAfterMs: 60_000 },
  );
  const got = new Map<number, LaneReply | string>();
  const take = (line: number, lane = 'fast') =>
    void lanes.take(lane, request(line)).then(
      (reply) => got.set(line, reply),
      (error: Error) => got.set(line, error.message),
    );
  return { lanes, asked, got, take };
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
