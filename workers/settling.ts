/**
 * Settling that does not give up: an answer is in hand, paid for, and Redis is away or refuses. It is settled when Redis
 * is itself again, however long that takes; settle.lua is safe to repeat. Only the end of the process ends the trying.
 * An error of which nobody knows whether it passes (a mistake of ours, a reply never seen before) has a while to pass.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../src/errors.ts';
import type { Settle } from '../src/keys/settle.ts';
import type { Log } from '../src/log.ts';
import { explainRedisError } from '../src/redis/trouble.ts';

/** At least half of it, the rest at random: of answers that travelled together, one alone may be what is refused. */
const retryEveryMs = 1000;
/** As long as a fail-over, or a person who looks at the log, may take. */
const defaultUnexplainedForMs = 60_000;

export type Settling = { log: Log; giveUp: AbortSignal; unexplainedForMs?: number };

export function settleSurely(settle: Settle, options: Settling): Settle {
  const { log, giveUp, unexplainedForMs = defaultUnexplainedForMs } = options;
  /** Thousands of answers may meet the same error: a person is told once in a while (performance.now). */
  let toldAtMs = Number.NEGATIVE_INFINITY;

  function tell(about: object): void {
    const isNews = performance.now() - toldAtMs > unexplainedForMs;
    if (isNews) toldAtMs = performance.now();
    log[isNews ? 'error' : 'debug'](about, 'cannot settle, for an unknown reason; trying again for a while');
  }

  return async (request) => {
    let unexplainedSinceMs: number | null = null;
    for (;;) {
      try {
        return await settle(request);
      } catch (error) {
        if (giveUp.aborted) throw error;
        const { batchId, line } = request;
        const about = { batchId, line, error: messageOf(error) };
        if (explainRedisError(error)) {
          unexplainedSinceMs = null;
          log.info(about, 'cannot settle yet; trying again');
        } else {
          tell(about);
          unexplainedSinceMs ??= performance.now();
          if (performance.now() - unexplainedSinceMs >= unexplainedForMs) throw error;
        }
        const pauseMs = retryEveryMs * (1 - Math.random() / 2);
        await sleep(pauseMs, undefined, { signal: giveUp }).catch(() => undefined);
      }
    }
  };
}
