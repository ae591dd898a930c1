import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createSimulator } from '../../src/simulator/server.ts';
import { WindowMaximum } from '../../src/simulator/window-maximum.ts';
import { SlidingWindow } from '../../src/simulator/window.ts';
import { chat } from './client.ts';

test('no schedule of arrivals puts more than the limit into any window', () => {
  const gaps = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(gaps, fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 100 }), (gapsMs, limit, windowMs) => {
      const window = new SlidingWindow(windowMs);
      const maximum = new WindowMaximum(windowMs);
      const accepted: number[] = [];
      let nowMs = 0;
      for (const gapMs of gapsMs) {
        nowMs += gapMs;
        // What a window that forgets nothing would say.
        const expected = accepted.filter((atMs) => nowMs - atMs < windowMs).length < limit;
        expect(window.fits(nowMs, 1, limit)).toBe(expected);
        if (!expected) continue;
        window.add(nowMs, 1);
        maximum.add(nowMs, 1);
        accepted.push(nowMs);
      }
      const largest = Math.max(
        ...accepted.map((end) => accepted.filter((atMs) => atMs <= end && end - atMs < windowMs).length),
      );
      expect(largest).toBeLessThanOrEqual(limit);
      expect(maximum.max).toBe(largest);
    }),
  );
});

test('a window keeps its sum right through thousands of entries', () => {
  const window = new SlidingWindow(100);
  const maximum = new WindowMaximum(100);
  for (let nowMs = 0; nowMs < 20_000; nowMs += 1) {
    window.add(nowMs, 3);
    maximum.add(nowMs, 3);
  }
  expect(window.used(19_999)).toBe(300);
  expect(window.used(20_098)).toBe(3);
  expect(window.used(20_099)).toBe(0);
  expect(maximum.max).toBe(300);
});

test('the window opens again exactly windowMs after a call, and refused calls take no place', async () => {
  let nowMs = 1_000_000;
  await using simulator = await createSimulator({
    scenario: { windowMs: 60_000, keys: [{ name: 'a', rpm: 2 }] },
    now: () => nowMs,
  });
  const statuses: number[] = [];
  // Two get in, at 0 and 10 s; the refused ones in between must not keep the door shut.
  for (const atMs of [0, 10_000, 10_001, 59_999, 60_000, 60_001, 69_999, 70_000]) {
    nowMs = 1_000_000 + atMs;
    statuses.push((await chat(simulator)).status);
  }
  expect(statuses).toEqual([200, 200, 429, 429, 200, 429, 429, 200]);
  expect(simulator.truth().keys['a']).toMatchObject({ calls: 8, answered: 4, rejected429: 4, maxInWindow: 2 });
});

test('each key has a window of its own', async () => {
  await using simulator = await createSimulator({
    scenario: {
      keys: [
        { name: 'a', rpm: 1 },
        { name: 'b', rpm: 1 },
      ],
    },
    now: () => 5,
  });
  const statuses = [];
  for (const key of ['a', 'b', 'a', 'b']) statuses.push((await chat(simulator, {}, { key })).status);
  expect(statuses).toEqual([200, 200, 429, 429]);
});

test('a burst of calls at once gets exactly the limit through', async () => {
  await using simulator = await createSimulator({ scenario: { keys: [{ name: 'a', rpm: 20 }] }, now: () => 5 });
  const answers = await Promise.all(Array.from({ length: 60 }, () => chat(simulator)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(20);
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(40);
  expect(simulator.truth().keys['a']?.maxInWindow).toBe(20);
});

test('a clock that steps back does not open the window early', async () => {
  let nowMs = 100_000;
  await using simulator = await createSimulator({ scenario: { keys: [{ name: 'a', rpm: 1 }] }, now: () => nowMs });
  expect((await chat(simulator)).status).toBe(200);
  nowMs = 20_000;
  expect((await chat(simulator)).status).toBe(429);
  nowMs = 159_999;
  expect((await chat(simulator)).status).toBe(429);
  nowMs = 160_000;
  expect((await chat(simulator)).status).toBe(200);
});

test('a token limit counts prompt and completion together, on arrival', async () => {
  let nowMs = 0;
  await using simulator = await createSimulator({
    // 5 prompt tokens ("Name three rivers." has 18 characters) and 20 completion tokens a call.
    scenario: { outputTokens: 20, keys: [{ name: 'a', rpm: 100, tpm: 60 }] },
    now: () => nowMs,
  });
  const statuses = [];
  for (const atMs of [0, 1, 2, 60_000, 60_000]) {
    nowMs = atMs;
    statuses.push((await chat(simulator)).status);
  }
  expect(statuses).toEqual([200, 200, 429, 200, 429]);
  expect(simulator.truth().keys['a']).toMatchObject({ maxTokensInWindow: 50, rejected429: 2 });
});
