/**
 * The shortest time in which keys with sliding windows can take a number of calls: each sends its whole window the
 * moment it may, so the n-th window of a key begins n windows after its first, or when the key is back.
 */

export type LimitedKey = {
  perWindow: number;
  /** When its provider refused it, in ms since the first call. */
  away: { fromMs: number; untilMs: number }[];
};

/** In ms, from the first call to the last one's sending. */
export function limitsTimeMs(keys: readonly LimitedKey[], windowMs: number, calls: number): number {
  const nextMs = keys.map((key) => whenBack(key, 0));
  let left = calls;
  for (;;) {
    const atMs = Math.min(...nextMs);
    for (const [index, key] of keys.entries()) {
      if (nextMs[index] !== atMs) continue;
      left -= key.perWindow;
      nextMs[index] = whenBack(key, atMs + windowMs);
    }
    if (left <= 0) return atMs;
  }
}

function whenBack({ away }: LimitedKey, atMs: number): number {
  return away.reduce((time, { fromMs, untilMs }) => (time >= fromMs && time < untilMs ? untilMs : time), atMs);
}
