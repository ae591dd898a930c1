/** How full a window is, in the figures that rate headers tell, and the two ways in which headers write times. */
import type { SlidingWindow } from './window.ts';

export type Rate = {
  limit: number;
  remaining: number;
  /** Until there is room for one more than now; 0 for an empty window. */
  growsInMs: number;
  /** Until the window is empty again. */
  emptyInMs: number;
};

/** Null where there is no limit. */
export function rateOf(window: SlidingWindow, limit: number | null, nowMs: number): Rate | null {
  if (limit === null) return null;
  const used = window.used(nowMs);
  // A limit may have been lowered below what was let in before.
  const remaining = Math.max(0, limit - used);
  const growsAtMs = used === 0 ? nowMs : window.fitsAtMs(nowMs, Math.min(remaining + 1, limit), limit)!;
  return { limit, remaining, growsInMs: growsAtMs - nowMs, emptyInMs: window.emptyAtMs(nowMs) - nowMs };
}

/** Never too early. */
export function secondsOf(ms: number): number {
  return Math.ceil(ms / 1000);
}

/** As OpenAI writes them: `12ms`, `1s`, `1.5s`, `6m0s`, `1h0m0s`. */
export function durationOf(ms: number): string {
  const whole = Math.ceil(ms);
  if (whole < 1000) return `${whole}ms`;
  const hours = Math.floor(whole / 3_600_000);
  const minutes = Math.floor((whole % 3_600_000) / 60_000);
  const seconds = `${(whole % 60_000) / 1000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
