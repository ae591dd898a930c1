/**
 * Standing back: lines that wait here for nothing (their batch was paused or cancelled) leave their job's place, and
 * those of a batch of lower priority let the lines go first that wait in other processes. What waits here is told to
 * the others for a moment at a time, so that a process which died is soon not waited for.
 */
import { redisTimeMs } from '../src/redis/time.ts';
import type { WorkerContext } from './context.ts';
import type { Lanes } from './lanes.ts';

/** Two looks long, and a little. */
const wantedForMs = 2500;

export type Standing = { look: () => Promise<void> };

export function createStanding({ redis, names }: WorkerContext, lanes: Lanes): Standing {
  async function haltStopped(batchIds: Iterable<string>): Promise<void> {
    for (const batchId of batchIds) {
      const status = (await redis.hget(names.batch(batchId), 'status')) ?? 'missing';
      if (status !== 'in_progress') lanes.halt(batchId, status);
    }
  }

  /** A member is rank and model. */
  async function tell(ranks: Map<string, number>, now: number): Promise<void> {
    const members = [...ranks].flatMap(([model, rank]) => [now + wantedForMs, `${rank} ${model}`]);
    if (members.length > 0) await redis.zadd(names.wanted, ...members);
  }

  async function listen(now: number): Promise<Map<string, number>> {
    const wanted = new Map<string, number>();
    for (const member of await redis.zrangebyscore(names.wanted, now, '+inf')) {
      const [rank, model] = [Number(member.slice(0, member.indexOf(' '))), member.slice(member.indexOf(' ') + 1)];
      wanted.set(model, Math.max(rank, wanted.get(model) ?? 0));
    }
    await redis.zremrangebyscore(names.wanted, '-inf', `(${now}`);
    return wanted;
  }

  return {
    async look() {
      const { batchIds, ranks } = lanes.waiting();
      await haltStopped(batchIds);
      const now = await redisTimeMs(redis);
      await tell(ranks, now);
      lanes.giveWay(await listen(now));
    },
  };
}
