import { expect, test } from 'vitest';
import { backoffMs } from '../../workers/backoff.ts';

test.each<[string, attemptsSpent: number, toldMs: number | null, ms: number]>([
  ['after the first attempt up to a second', 0, null, 500],
  ['after each further one up to twice as long', 3, null, 4000],
  ['never longer than half a minute', 40, null, 15_000],
  ['no sooner than the answer says', 0, 20_000, 20_000],
  ['as long as without a word where that says 0', 2, 0, 2000],
  ['as long as without a word where that names a time gone by', 2, -5000, 2000],
])('a line waits %s', (_, attemptsSpent, toldMs, ms) => {
  expect(backoffMs(attemptsSpent, toldMs, 0.5)).toBe(ms);
});
