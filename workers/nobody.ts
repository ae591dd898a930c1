/** `run --no-worker` where nobody does the work: said once it has stood still for a while, and when somebody has come. */
import type { Log } from '../src/log.ts';
import type { Redis } from '../src/redis/client.ts';
import type { Names } from '../src/redis/names.ts';
import { countLiving } from './roster.ts';

export type NobodyWatch = {
  /** Between two looks for results; `added`: how many there were. Errors: Redis'. */
  look: (added: number) => Promise<void>;
};

/** Long enough for workers that start together with the run. */
const defaultStillForMs = 10_000;

type NobodyOptions = { redis: Redis; names: Names; log: Log; stillForMs?: number };

export function createNobodyWatch({ redis, names, log, stillForMs = defaultStillForMs }: NobodyOptions): NobodyWatch {
  let stillSinceMs = performance.now();
  let hasSaid = false;
  return {
    async look(added) {
      if (added > 0) stillSinceMs = performance.now();
      if (added === 0 && performance.now() - stillSinceMs < stillForMs) return;
      // While results come there is somebody; when they begin to, it is said.
      if (added > 0 && !hasSaid) return;
      stillSinceMs = performance.now();
      const isNobody = added === 0 && (await countLiving(redis, names)) === 0;
      if (isNobody === hasSaid) return;
      hasSaid = isNobody;
      if (isNobody) log.warn('no worker is alive on this Redis, so nothing is sent; start one: nightshift worker');
      else log.warn('a worker is there');
    },
  };
}
