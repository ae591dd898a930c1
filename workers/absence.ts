/**
 * Was Redis away lately: gone, or standing still with its connections open? Then nobody has given a sign of life for
 * long, and all get the time to give one before anything is concluded from their silence. Whoever is nearest to Redis is
 * heard first when it goes on.
 */
import type { Redis } from '../src/redis/client.ts';

export type Absence = {
  /** An answer has come to what was asked at that time (performance.now): was it long on its way? */
  note: (askedAtMs: number) => void;
  /** Notes the answers that are in, of which the first was asked for then. `forMs`: how long the others need to be heard. */
  wasLately: (askedAtMs: number, forMs: number) => boolean;
};

/** Slower, and Redis was away meanwhile. Every sign of life is such a question, so a longer standstill is surely seen. */
const slowAnswerMs = 2000;

export function createAbsence(redis: Redis): Absence {
  let backAtMs = Number.NEGATIVE_INFINITY;
  redis.on('ready', () => (backAtMs = performance.now()));
  const note = (askedAtMs: number) => {
    const now = performance.now();
    if (now - askedAtMs > slowAnswerMs) backAtMs = now;
  };
  return {
    note,
    wasLately(askedAtMs, forMs) {
      note(askedAtMs);
      return askedAtMs - backAtMs < forMs;
    },
  };
}
