/**
 * What a completion job is: some consecutive lines of one batch's input file, as they stand there. A job carries
 * several lines because the queue's work per job is then shared by all of them; each line still has its own attempts,
 * its own slot and its own end. The queue is disposable: whatever is not done when a batch resumes is enqueued again
 * from the file, and a line that is done already costs one bit's look.
 */
import { Queue, type RedisOptions } from 'bullmq';
import { z } from 'zod';
import type { Names } from '../src/redis/names.ts';

export const queueName = 'completions';

export const payloadSchema = z.strictObject({
  batchId: z.string(),
  /** 1-based line of the input file on which `text` begins. */
  firstLine: z.number().int().positive(),
  /** Whole lines joined by \n; blank ones count but carry nothing. */
  text: z.string(),
});
export type CompletionPayload = z.infer<typeof payloadSchema>;

/** The same lines always make the same job, so enqueueing them again does nothing while they are queued. */
export function jobIdOf(payload: Pick<CompletionPayload, 'batchId' | 'firstLine'>): string {
  return `${payload.batchId}-${payload.firstLine}`;
}

export function createQueue(connection: RedisOptions, names: Names): Queue<CompletionPayload> {
  return new Queue(queueName, {
    connection,
    prefix: names.queuePrefix,
    // Results, counts and attempts are kept by us; nothing of a job is worth keeping once it ended.
    defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
    streams: { events: { maxLen: 100 } },
  });
}

/** The batch that a job belongs to. Batch ids hold no hyphen. */
export function batchOf(jobId: string): string {
  return jobId.slice(0, jobId.lastIndexOf('-'));
}

/** In the order of their `turns` (turns.ts). Without them they come before all that have one, in the order of arrival. */
export async function enqueue(
  queue: Queue<CompletionPayload>,
  payloads: CompletionPayload[],
  turns: readonly number[] = [],
): Promise<void> {
  await queue.addBulk(
    payloads.map((data, index) => ({
      name: 'lines',
      data,
      opts: { jobId: jobIdOf(data), priority: turns[index] ?? 0 },
    })),
  );
}

/** Is the job neither waiting, delayed nor running? Then its unfinished lines are nobody's. */
export async function isLost(
  queue: Queue<CompletionPayload>,
  payload: Pick<CompletionPayload, 'batchId' | 'firstLine'>,
) {
  return (await queue.getJobState(jobIdOf(payload))) === 'unknown';
}
