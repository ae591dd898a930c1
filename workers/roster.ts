/**
 * The roster: which workers are alive, and which jobs are whose, as the queue's locks tell. When one dies, whoever notices
 * gives up its calls in flight (they become `unknown`) and puts its jobs back into the queue at once, instead of waiting
 * for locks to run out. A worker is dead when it has given no sign of life for a while by Redis' clock, or when it ran on
 * this machine and its process is gone. If it was only asleep, nothing is harmed: its job's lock is no longer its own,
 * and what it still settles meets the done bit.
 */
import { Job, type Queue } from 'bullmq';
import type { Redis } from '../src/redis/client.ts';
import type { CompletionPayload } from '../jobs/completion.ts';
import { messageOf } from '../src/errors.ts';
import { isProcessGone } from '../src/process-gone.ts';
import { reapIntents } from '../src/keys/reap.ts';
import type { Names } from '../src/redis/names.ts';
import { redisTimeMs } from '../src/redis/time.ts';
import type { Absence } from './absence.ts';
import type { WorkerContext } from './context.ts';

export type Roster = {
  signOfLife: () => Promise<void>;
  /**
   * The jobs that are locked with a token of this beginning are this worker's. To be told before the first is taken: a
   * job is in its hands from the moment that the queue gives it away, whether the worker has heard so or not.
   */
  uses: (tokenPrefix: string) => Promise<void>;
  /** Buries the dead. Returns their ids. */
  recover: () => Promise<string[]>;
  /**
   * `recover`, unless a worker of this machine, which sees the same, did so in the last seconds. And gives up our own
   * calls that an error has left behind.
   */
  recoverInTurn: () => Promise<void>;
  signOff: () => Promise<void>;
};

export const signOfLifeEveryMs = 2000;
/** Several signs long: a busy second must not look like a death. */
const deadAfterMs = 10_000;

/** A thousand workers need not all look. Another machine sees other processes, and looks for itself. */
const recoverEveryMs = 3000;

/** Workers of this process: a library may run several. */
const livingHere = new Set<string>();

export function createRoster(ctx: WorkerContext, queue: Queue<CompletionPayload>): Roster {
  const { redis, names, workerId, absence, attempts, log } = ctx;
  livingHere.add(workerId);
  const mine = names.worker(workerId);
  const ours = new Set<string>();

  /** `askedAtMs`: performance.now before the first question of this turn. */
  async function findDead(askedAtMs: number): Promise<Set<string>> {
    const now = await redisTimeMs(redis);
    const listed = await redis.zrange(names.workers, 0, '-1', 'WITHSCORES');
    const wasAway = absence.wasLately(askedAtMs, deadAfterMs);
    const dead = new Set<string>();
    for (let index = 0; index + 1 < listed.length; index += 2) {
      const [id, seenAtMs] = [listed[index] as string, Number(listed[index + 1])];
      if (id !== workerId && ((!wasAway && now - seenAtMs > deadAfterMs) || isGoneFromHere(id))) dead.add(id);
    }
    return dead;
  }

  async function putBackJobs(deadId: string): Promise<void> {
    const prefixes = await redis.hkeys(names.worker(deadId));
    const jobIds = prefixes.length > 0 ? await redis.lrange(queue.toKey('active'), 0, -1) : [];
    for (const jobId of jobIds) {
      const token = await redis.get(`${queue.toKey(jobId)}:lock`);
      if (token === null || !prefixes.some((prefix) => token.startsWith(`${prefix}:`))) continue;
      try {
        const job = await Job.fromId(queue, jobId);
        await job?.moveToWait(token);
      } catch (error) {
        // Its lock has run out and someone else has it already, or it had just ended.
        log.debug({ jobId, error: messageOf(error) }, 'a dead worker\u2019s job was not there to put back');
      }
    }
  }

  async function recover(askedAtMs = performance.now()): Promise<string[]> {
    const dead = await findDead(askedAtMs);
    if (dead.size === 0) return [];
    // Calls first: a line must not be sent again while its earlier call still counts as in flight.
    const calls = await reapIntents(ctx, (id) => dead.has(id));
    for (const id of dead) {
      await putBackJobs(id);
      // Last: a crash before this has the whole burial repeated, which is harmless.
      await redis.multi().del(names.worker(id)).zrem(names.workers, id).exec();
    }
    log.info({ workers: [...dead], possiblyBilled: calls }, 'dead workers: their jobs went back to the queue');
    return [...dead];
  }

  /** Calls that an error has left behind. Nobody else can: to the others they are those of a living worker. */
  async function giveUpLost(): Promise<void> {
    if (!attempts.takeLosses()) return;
    try {
      await reapIntents(ctx, (_, intent) => attempts.hasLost(intent));
    } catch (error) {
      attempts.lookAgain();
      throw error;
    }
  }

  return {
    recover: () => recover(),
    async recoverInTurn() {
      await giveUpLost();
      const askedAtMs = performance.now();
      const [machine = ''] = workerId.split('/');
      if ((await redis.set(names.burying(machine), '1', 'PX', recoverEveryMs, 'NX')) === 'OK') await recover(askedAtMs);
    },
    async signOfLife() {
      const askedAtMs = performance.now();
      const now = await redisTimeMs(redis);
      // Redis may have stood still until this moment, and the others are still to be heard.
      absence.note(askedAtMs);
      const signs = redis.multi().zadd(names.workers, now, workerId);
      // Again and again: whoever took us for dead has forgotten them.
      for (const prefix of ours) signs.hset(mine, prefix, Date.now());
      await signs.exec();
    },
    async uses(tokenPrefix) {
      ours.add(tokenPrefix);
      await redis.hset(mine, tokenPrefix, Date.now());
    },
    async signOff() {
      livingHere.delete(workerId);
      // Of a stop that did not wait for all of them.
      await putBackJobs(workerId);
      await redis.multi().del(mine).zrem(names.workers, workerId).exec();
    },
  };
}

/** Has the worker given a sign of life lately, or could it not, as far as `absence` knows? */
export async function isAlive(redis: Redis, names: Names, workerId: string, absence?: Absence): Promise<boolean> {
  if (isGoneFromHere(workerId)) return false;
  const askedAtMs = performance.now();
  const seenAtMs = await redis.zscore(names.workers, workerId);
  const isSilent = seenAtMs === null || (await redisTimeMs(redis)) - Number(seenAtMs) > deadAfterMs;
  return !isSilent || (absence?.wasLately(askedAtMs, deadAfterMs) ?? false);
}

/** How many workers have given a sign of life lately. */
export async function countLiving(redis: Redis, names: Names): Promise<number> {
  return redis.zcount(names.workers, (await redisTimeMs(redis)) - deadAfterMs, '+inf');
}

/** A worker id is machine/process/nonce (context.ts). */
function isGoneFromHere(id: string): boolean {
  const [machine, pid] = id.split('/');
  return isProcessGone(machine, pid, livingHere.has(id));
}
