/**
 * The shape of a limit's sliding window. We stamp a request when it is sent, the provider when it arrives; the guard
 * is what the two may differ by. It scales with the window, so that tests with short windows use the same rules.
 */

export type WindowShape = { windowMs: number; sliceMs: number; guardMs: number };

/** 600 slices a window: exact to 0.17 %, and at most about 600 small fields a bucket. */
const slicesPerWindow = 600;
const widestSliceMs = 100;
const widestGuardMs = 250;
const narrowestGuardMs = 25;

export function windowShape(windowMs: number): WindowShape {
  return {
    windowMs,
    sliceMs: Math.min(widestSliceMs, Math.max(1, Math.floor(windowMs / slicesPerWindow))),
    guardMs: Math.min(widestGuardMs, Math.max(narrowestGuardMs, Math.round(windowMs / 240))),
  };
}
