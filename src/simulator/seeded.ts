/**
 * Chance that repeats: everything the simulator draws comes from a seed, so a run can be run again. Two sources: a
 * hash, for what must be the same whenever the same request comes, and a sequence, for what may depend on the order of
 * arrival (latency, faults). Neither is fit for secrets.
 */

/** A 53-bit hash of a text (cyrb53: two 32-bit lanes, multiplied and crossed), exact in a JavaScript number. */
export function hash53(text: string, seed = 0): number {
  let high = 0xdeadbeef ^ seed;
  let low = 0x41c6ce57 ^ seed;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    high = Math.imul(high ^ unit, 2654435761);
    low = Math.imul(low ^ unit, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return 4294967296 * (2097151 & low) + (high >>> 0);
}

/** The name under which `Truth.byRequest` counts a prompt: 14 hex digits of the text of its last user message. */
export function fingerprintOf(lastUserMessage: string): string {
  return hash53(lastUserMessage).toString(16).padStart(14, '0');
}

export type Random = () => number;

/** A sequence of numbers in [0, 1) (mulberry32). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
