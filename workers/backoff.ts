/** How long a line waits before it is sent again: exponential backoff with full jitter, and no sooner than it was told. */

const firstMs = 1000;
const longestMs = 30_000;

/**
 * `toldMs`: the answer's own word. It is not gone by alone: 0, or a date gone by, would spend all attempts in a blink.
 * `random`: 0 to 1.
 */
export function backoffMs(attemptsSpent: number, toldMs: number | null, random = Math.random()): number {
  return Math.max(toldMs ?? 0, random * Math.min(longestMs, firstMs * 2 ** attemptsSpent));
}
