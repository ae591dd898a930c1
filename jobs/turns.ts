/**
 * Whose turn it is: the order of jobs in the queue, as BullMQ's priorities (small numbers first). The turns of a batch
 * are numbered, and a batch that arrives begins at the number that is being served now. So all batches take turns,
 * however many jobs of them wait (start-time fair queueing, Goyal et al. 1996). A batch of high or low priority is
 * numbered in a range of its own, before or behind the others'.
 *
 * A turn is as many lines as a whole job has. What a job takes of it are the lines that are to be sent: jobs with one
 * such line each, as where a batch is tried again, share a turn, and the batch gets as many lines as the others.
 *
 * A range is long enough for ten million lines and more; what goes beyond is served in the order of arrival.
 */
import type { Queue } from 'bullmq';
import type { Priority } from '../src/batch/batch.ts';
import { defaultWindow } from '../src/batch/producer.ts';
import type { Redis } from '../src/redis/client.ts';
import type { Names } from '../src/redis/names.ts';
import type { CompletionPayload } from './completion.ts';

/** BullMQ's priorities go from 1 to 2 097 152; 0 is none, which comes before them all. */
const ranges: Record<Priority, { first: number; last: number }> = {
  high: { first: 1, last: 500_000 },
  normal: { first: 500_001, last: 1_500_000 },
  low: { first: 1_500_001, last: 2_097_000 },
};

const linesPerTurn = defaultWindow.linesPerChunk;

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
  /** The next turns of this batch, for jobs in which so many lines are to be sent. */
  take: (lineCounts: readonly number[]) => Promise<number[]>;
};

export function createTurns(redis: Redis, names: Names, queue: Queue<CompletionPayload>, priority: Priority): Turns {
  const { first, last } = ranges[priority];
  /** Lines of this batch that are before the next one in its range. */
  let position = 0;
  let hasBegun = false;
  return {
    async take(lineCounts) {
      if (!hasBegun) await startOver(redis, names, queue);
      hasBegun = true;
      const served = Number((await redis.zscore(names.turns, priority)) ?? 0);
      position = Math.max(position, (served - first + 1) * linesPerTurn);
      return lineCounts.map((count) => {
        const turn = first + Math.floor(position / linesPerTurn);
        position += count;
        return Math.min(last, turn);
      });
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
