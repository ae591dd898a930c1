import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { durationOf, rateOf, secondsOf } from '../../src/simulator/rates.ts';
import { SlidingWindow } from '../../src/simulator/window.ts';

test.each([
  [0, '0ms'],
  [11.2, '12ms'],
  [999.5, '1s'],
  [1000, '1s'],
  [1500, '1.5s'],
  [59_999, '59.999s'],
  [60_000, '1m0s'],
  [360_000, '6m0s'],
  [3_600_000, '1h0m0s'],
  [3_661_500, '1h1m1.5s'],
])('%d ms are written as %s', (ms, text) => {
  expect(durationOf(ms)).toBe(text);
});

test('seconds are never too early', () => {
  expect([0, 1, 1000, 1000.5].map(secondsOf)).toEqual([0, 1, 1, 2]);
});

test('a window says when there is room, and it is true: then, and not a millisecond before', () => {
  const entries = fc.array(
    fc.record({ gapMs: fc.integer({ min: 0, max: 30 }), amount: fc.integer({ min: 1, max: 9 }) }),
    {
      minLength: 1,
      maxLength: 60,
    },
  );
  fc.assert(
    fc.property(entries, fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 20 }), (added, limit, amount) => {
      const build = (): { window: SlidingWindow; nowMs: number } => {
        const window = new SlidingWindow(50);
        let nowMs = 0;
        for (const entry of added) {
          nowMs += entry.gapMs;
          window.add(nowMs, entry.amount);
        }
        return { window, nowMs };
      };
      const { window, nowMs } = build();
      const atMs = window.fitsAtMs(nowMs, amount, limit);
      if (amount > limit) {
        expect(atMs).toBeNull();
        return;
      }
      expect(build().window.fits(atMs!, amount, limit)).toBe(true);
      if (atMs! > nowMs) expect(build().window.fits(atMs! - 1, amount, limit)).toBe(false);
      const emptyAtMs = window.emptyAtMs(nowMs);
      expect(build().window.used(emptyAtMs)).toBe(0);
      if (emptyAtMs > nowMs) expect(build().window.used(emptyAtMs - 1)).toBeGreaterThan(0);
    }),
  );
});

test('a limit that was lowered below what is used leaves nothing', () => {
  const window = new SlidingWindow(1000);
  for (let at = 0; at < 5; at += 1) window.add(at, 1);
  expect(rateOf(window, 3, 10)).toEqual({ limit: 3, remaining: 0, growsInMs: 992, emptyInMs: 994 });
  expect(rateOf(window, null, 10)).toBeNull();
  expect(rateOf(new SlidingWindow(1000), 3, 10)).toEqual({ limit: 3, remaining: 3, growsInMs: 0, emptyInMs: 0 });
});
