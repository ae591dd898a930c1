/**
 * The watchdog of a queue worker: one that takes no jobs although it has room and jobs wait is replaced by a new one.
 * Connections that hang are the client's to notice (redis/client.ts); this is for whatever else stops a worker without a
 * word. An outage of Redis is none of that: while the question whether jobs wait has no answer, no time counts.
 */
import { messageOf } from '../src/errors.ts';
import type { Log } from '../src/log.ts';

export type WatchdogOptions = {
  /** Asks the queue, on another connection than the worker's. */
  isWorkWaiting: () => Promise<boolean>;
  /** When (performance.now) the worker took a job last, or was made. */
  lastTakenAt: () => number;
  /** False while the worker has as many jobs in hand as it may: then it is busy, not stuck. */
  hasRoom: () => boolean;
  /** Makes a new worker and lets the old one end what it has in hand. */
  recreate: () => Promise<void>;
  log: Log;
  /** Default 15000: longer than the queue lets a worker wait for a job. */
  silentForMs?: number;
  lookEveryMs?: number;
};

export type Watchdog = Disposable;

const defaultSilentForMs = 15_000;
const defaultLookEveryMs = 2_000;

export function startWatchdog(options: WatchdogOptions): Watchdog {
  const { isWorkWaiting, lastTakenAt, hasRoom, recreate, log } = options;
  const silentForMs = options.silentForMs ?? defaultSilentForMs;
  const lookEveryMs = options.lookEveryMs ?? defaultLookEveryMs;
  /** Since when every look has found work waiting and room for it; null: the last one did not. */
  let stuckSince: number | null = null;
  let isLooking = false;
  let hasEnded = false;

  async function look(): Promise<void> {
    const askedAt = performance.now();
    const isIdleBesideWork = hasRoom() && (await isWorkWaiting());
    const now = performance.now();
    // An answer that took long says that Redis was away: the worker begins anew, as we do.
    if (!isIdleBesideWork || now - askedAt > lookEveryMs) {
      stuckSince = null;
      return;
    }
    stuckSince ??= askedAt;
    const silentMs = now - Math.max(stuckSince, lastTakenAt());
    if (silentMs < silentForMs || hasEnded) return;
    stuckSince = null;
    log.warn({ silentMs: Math.round(silentMs) }, 'the worker takes no jobs although some wait; starting another');
    await recreate();
  }

  const timer = setInterval(() => {
    if (isLooking) return;
    isLooking = true;
    look()
      .catch((error: unknown) => {
        stuckSince = null;
        log.debug({ error: messageOf(error) }, 'watchdog');
      })
      .finally(() => (isLooking = false));
  }, lookEveryMs);

  return {
    [Symbol.dispose]() {
      hasEnded = true;
      clearInterval(timer);
    },
  };
}
