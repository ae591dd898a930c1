/**
 * The shape of a limit's sliding window. We stamp a request when it is sent, the provider when it arrives; the guard
 * is what the two may differ by.
 */

export type WindowShape = { windowMs: number; sliceMs: number; guardMs: number };

/** 600 slices a window: exact to 0.17 %, and at most about 600 small fields a bucket. */
const slicesPerWindow = 600;
const widestSliceMs = 100;
/** What a send and its arrival may differ by: networks do not get faster because a window is short. */
const guardMs = 250;
/** But a guard of the window's own size would leave nothing to send. */
const widestGuardPart = 0.1;

export function windowShape(windowMs: number): WindowShape {
  return {
    windowMs,
    sliceMs: Math.min(widestSliceMs, Math.max(1, Math.floor(windowMs / slicesPerWindow))),
    guardMs: Math.min(guardMs, Math.ceil(windowMs * widestGuardPart)),
  };
}

/** A widened guard (lateness.ts) has lost half of its extra after so long; prelude.lua counts the same. */
export function guardHalvesAfterMs(windowMs: number): number {
  return Math.max(600_000, 10 * windowMs);
}
