/**
 * Guests: jobs beyond the places of a worker. Its places may all be taken by a large batch whose lines wait a minute
 * for their keys' window; a batch that arrives then would wait as long for a place. So, when the job whose turn it is
 * belongs to a batch that has less than its share of the places here, it gets one more, and its lines take turns with
 * the others' at the next free slot (lanes.ts).
 *
 * A guest is fetched and ended by hand: BullMQ raises a worker's concurrency only when a job of it ends.
 */
import { DelayedError, WaitingError, type Job, type Worker } from 'bullmq';
import { batchOf, type CompletionPayload } from '../jobs/completion.ts';
import { priorityOf, rankOf, turnOfScore } from '../jobs/turns.ts';
import { messageOf } from '../src/errors.ts';
import type { WorkerContext } from './context.ts';

/** The jobs in hand, by batch. */
export type InHand = {
  took: (batchId: string, turn: number) => void;
  gaveBack: (batchId: string) => void;
  jobs: () => number;
  of: (batchId: string) => number;
  batches: () => number;
  highestRank: () => number;
};

export function createInHand(): InHand {
  const held = new Map<string, { count: number; rank: number }>();
  let jobs = 0;
  return {
    took(batchId, turn) {
      jobs += 1;
      const known = held.get(batchId);
      if (known) known.count += 1;
      else held.set(batchId, { count: 1, rank: rankOf[priorityOf(turn)] });
    },
    gaveBack(batchId) {
      jobs -= 1;
      const known = held.get(batchId);
      if (!known) return;
      known.count -= 1;
      if (known.count === 0) held.delete(batchId);
    },
    jobs: () => jobs,
    of: (batchId) => held.get(batchId)?.count ?? 0,
    batches: () => held.size,
    highestRank: () => Math.max(0, ...[...held.values()].map(({ rank }) => rank)),
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
    const here = inHand.of(batchId);
    const batches = inHand.batches() + (here === 0 ? 1 : 0);
    return here < Math.max(1, Math.floor(places / batches));
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
      while (!ctx.stopping.aborted && inHand.jobs() >= places && running.size < places) {
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
    },
    async ended() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}
