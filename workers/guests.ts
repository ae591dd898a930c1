/**
 * Guests: jobs beyond the places of a worker. Its places may all be taken by a large batch whose lines wait a minute
 * for their keys' window; a batch that arrives then would wait as long for a place. So, when the job whose turn it is
 * belongs to a batch that has less than its share here, it gets one more, and its lines take turns with the others' at
 * the next free slot (lanes.ts).
 *
 * Shares are counted in lines that are to be sent: a place is as good as a whole job. Of jobs with one such line each, as
 * where a batch is tried again, more are taken in than there are places, or its lines would be one a place in each window.
 *
 * A guest is fetched and ended by hand: BullMQ raises a worker's concurrency only when a job of it ends.
 */
import { DelayedError, WaitingError, type Job, type Worker } from 'bullmq';
import { batchOf, type CompletionPayload } from '../jobs/completion.ts';
import { priorityOf, rankOf, turnOfScore } from '../jobs/turns.ts';
import { defaultWindow } from '../src/batch/producer.ts';
import { messageOf } from '../src/errors.ts';
import type { WorkerContext } from './context.ts';

const linesPerPlace = defaultWindow.linesPerChunk;

/** Of a job in hand: lines that are to be sent, and its text. Until it is counted it is taken for a whole one. */
export type JobInHand = { batchId: string; lines: number; textLength: number };

/** The jobs in hand, and what they hold. */
export type InHand = {
  took: (batchId: string, turn: number) => JobInHand;
  counted: (job: JobInHand, holds: { lines: number; textLength: number }) => void;
  gaveBack: (job: JobInHand) => void;
  total: () => Holding;
  linesOf: (batchId: string) => number;
  /** How many batches have jobs here, with this one. */
  batchesWith: (batchId: string) => number;
  highestRank: () => number;
};

type Holding = { jobs: number; lines: number; textLength: number };

export function createInHand(): InHand {
  const total: Holding = { jobs: 0, lines: 0, textLength: 0 };
  const byBatch = new Map<string, Holding & { rank: number }>();

  function add({ batchId, lines, textLength }: JobInHand, sign: 1 | -1): void {
    for (const holding of [total, byBatch.get(batchId)]) {
      if (!holding) continue;
      holding.jobs += sign;
      holding.lines += sign * lines;
      holding.textLength += sign * textLength;
    }
  }

  return {
    took(batchId, turn) {
      const rank = rankOf[priorityOf(turn)];
      if (!byBatch.has(batchId)) byBatch.set(batchId, { jobs: 0, lines: 0, textLength: 0, rank });
      const job = { batchId, lines: linesPerPlace, textLength: 0 };
      add(job, 1);
      return job;
    },
    counted(job, holds) {
      add(job, -1);
      add(Object.assign(job, holds), 1);
    },
    gaveBack(job) {
      add(job, -1);
      if (byBatch.get(job.batchId)?.jobs === 0) byBatch.delete(job.batchId);
    },
    total: () => total,
    linesOf: (batchId) => byBatch.get(batchId)?.lines ?? 0,
    batchesWith: (batchId) => byBatch.size + (byBatch.has(batchId) ? 0 : 1),
    highestRank: () => Math.max(0, ...[...byBatch.values()].map(({ rank }) => rank)),
  };
}

export type Guests = {
  /** Takes guests in, as long as the next job is one. */
  look: () => Promise<void>;
  /** Resolves when there is none left. */
  ended: () => Promise<void>;
};

export type GuestsOptions = {
  ctx: WorkerContext;
  /** The queue's, that takes jobs now. */
  worker: () => Worker<CompletionPayload>;
  places: number;
  inHand: InHand;
  takeJob: (job: Job<CompletionPayload>, token: string) => Promise<void>;
  lockMs: number;
};

export function createGuests({ ctx, worker, places, inHand, takeJob, lockMs }: GuestsOptions): Guests {
  const running = new Set<Promise<void>>();
  let taken = 0;
  let isAsked = false;
  let isLooking = false;

  /** The job whose turn it is. */
  async function next(): Promise<{ batchId: string; rank: number } | null> {
    const [jobId, score] = await ctx.redis.zrange(worker().toKey('prioritized'), '0', '0', 'WITHSCORES');
    if (jobId === undefined) return null;
    return { batchId: batchOf(jobId), rank: rankOf[priorityOf(turnOfScore(Number(score)))] };
  }

  function mayComeIn({ batchId, rank }: { batchId: string; rank: number }): boolean {
    if (rank < inHand.highestRank()) return false;
    // One that goes before all others here needs no share.
    if (rank > inHand.highestRank()) return true;
    const share = Math.max(1, Math.floor(places / inHand.batchesWith(batchId))) * linesPerPlace;
    return inHand.linesOf(batchId) < share;
  }

  /** Its own places are taken, and it may have more in hand. */
  function wantsGuests(): boolean {
    const { jobs, lines, textLength } = inHand.total();
    if (jobs < places) return false;
    // Beyond twice as many jobs, no more text than one batch may have in the queue.
    return lines < 2 * places * linesPerPlace && (jobs < 2 * places || textLength < defaultWindow.bytes);
  }

  async function takeIn(): Promise<void> {
    while (!ctx.stopping.aborted && wantsGuests()) {
      const job = await next();
      if (!job || !mayComeIn(job)) return;
      taken += 1;
      // Of the worker's own kind, by which the roster knows its jobs.
      const token = `${worker().id}:guest-${taken}`;
      // Another worker may have taken it meanwhile; then it is the one behind it, which is as good.
      const guest = (await worker().getNextJob(token, { block: false })) as Job<CompletionPayload> | undefined;
      if (!guest) return;
      const ended = run(guest, token).catch((error: unknown) => {
        ctx.log.debug({ jobId: guest.id, error: messageOf(error) }, 'a guest\u2019s job could not be ended');
      });
      running.add(ended);
      void ended.then(() => running.delete(ended));
    }
  }

  async function run(job: Job<CompletionPayload>, token: string): Promise<void> {
    // Missed once or twice, it does no harm: whoever takes the job then meets the intents and the done bits.
    const renewing = setInterval(() => void job.extendLock(token, lockMs).catch(() => undefined), lockMs / 4);
    try {
      await takeJob(job, token);
      await job.moveToCompleted(null, token, false);
    } catch (error) {
      if (error instanceof DelayedError || error instanceof WaitingError) return;
      ctx.log.info({ jobId: job.id, error: messageOf(error) }, 'a guest\u2019s job failed');
      await job.moveToFailed(error instanceof Error ? error : new Error(String(error)), token, false);
    } finally {
      clearInterval(renewing);
    }
  }

  return {
    async look() {
      isAsked = true;
      if (isLooking) return;
      isLooking = true;
      try {
        while (isAsked) {
          isAsked = false;
          await takeIn();
        }
      } finally {
        isLooking = false;
      }
    },
    async ended() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}
