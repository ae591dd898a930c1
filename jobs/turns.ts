/**
 * Whose turn it is: the order of jobs in the queue, as BullMQ's priorities (small numbers first). The chunks of a batch
 * are numbered, and a batch that arrives begins at the number that is being served now. So the chunks of all batches
 * take turns, one each, however many of them wait (start-time fair queueing, Goyal et al. 1996). A batch of high or low
 * priority is numbered in a range of its own, before or behind the others'.
 *
 * A range is long enough for ten million lines and more; what goes beyond is served in the order of arrival.
 */
import type { Queue } from 'bullmq';
import type { Priority } from '../src/batch/batch.ts';
import type { Redis } from '../src/redis/client.ts';
import type { Names } from '../src/redis/names.ts';
import type { CompletionPayload } from './completion.ts';

/** BullMQ's priorities go from 1 to 2 097 152; 0 is none, which comes before them all. */
const ranges: Record<Priority, { first: number; last: number }> = {
  high: { first: 1, last: 500_000 },
  normal: { first: 500_001, last: 1_500_000 },
  low: { first: 1_500_001, last: 2_097_000 },
};

/** In lanes, a higher rank goes first. */
export const rankOf: Record<Priority, number> = { low: 0, normal: 1, high: 2 };

export function priorityOf(turn: number): Priority {
  if (turn <= ranges.high.last) return 'high';
  return turn <= ranges.normal.last ? 'normal' : 'low';
}

/** Whose turn a job's place in the queue's sorted set is: BullMQ keeps the order of arrival in the lower 32 bits. */
export function turnOfScore(score: number): number {
  return Math.floor(score / 2 ** 32);
}

export type Turns = {
  /** The next turns of this batch. */
  take: (count: number) => Promise<number[]>;
};

export function createTurns(redis: Redis, names: Names, queue: Queue<CompletionPayload>, priority: Priority): Turns {
  const { first, last } = ranges[priority];
  let mine = 0;
  let hasBegun = false;
  return {
    async take(count) {
      if (!hasBegun) await startOver(redis, names, queue);
      hasBegun = true;
      const served = Number((await redis.zscore(names.turns, priority)) ?? 0);
      mine = Math.max(mine, served - first + 1);
      return Array.from({ length: count }, () => Math.min(last, first + mine++));
    },
  };
}

/** With nothing in the queue there is no order to keep, and the numbers begin anew. */
async function startOver(redis: Redis, names: Names, queue: Queue<CompletionPayload>): Promise<void> {
  const counts = await queue.getJobCounts('wait', 'prioritized', 'delayed', 'active');
  if (Object.values(counts).every((count) => count === 0)) await redis.del(names.turns);
}

/** A job of this turn is being served. */
export async function noteTurn(redis: Redis, names: Names, turn: number): Promise<void> {
  if (turn > 0) await redis.zadd(names.turns, 'GT', turn, priorityOf(turn));
}
