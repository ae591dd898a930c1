/**
 * Time that performance.now knows nothing of: it stands still while the machine is suspended. The wall clock goes on,
 * but may be set: one that was set forward looks like a suspension, one that was set back hides it.
 */

export type Clocks = { monotonicMs: number; wallMs: number };

export function readClocks(): Clocks {
  return { monotonicMs: performance.now(), wallMs: Date.now() };
}

/** How long the machine was suspended between the two readings, to a millisecond. */
export function suspendedMs(since: Clocks, now: Clocks): number {
  return Math.max(0, now.wallMs - since.wallMs - (now.monotonicMs - since.monotonicMs));
}
