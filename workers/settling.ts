/**
 * Settling that does not give up: an answer is in hand, paid for, and Redis is away. It is settled when Redis is back,
 * however long that takes; settle.lua is safe to repeat. Only the end of the process ends the trying.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../src/errors.ts';
import type { Settle } from '../src/keys/settle.ts';
import type { Log } from '../src/log.ts';
import { explainRedisError } from '../src/redis/trouble.ts';

const retryEveryMs = 1000;

export function settleSurely(settle: Settle, options: { log: Log; giveUp: AbortSignal }): Settle {
  return async (request) => {
    for (;;) {
      try {
        return await settle(request);
      } catch (error) {
        if (explainRedisError(error) === null || options.giveUp.aborted) throw error;
        const { batchId, line } = request;
        options.log.info({ batchId, line, error: messageOf(error) }, 'cannot settle yet; trying again');
        await sleep(retryEveryMs, undefined, { signal: options.giveUp }).catch(() => undefined);
      }
    }
  };
}
