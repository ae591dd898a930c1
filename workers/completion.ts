/**
 * The queue's side of a worker: takes jobs from BullMQ, runs their lines, and says how each job ends. The only code
 * that knows BullMQ's control errors.
 *
 * A job ends when all its lines have ended. Lines that are held put it back: at once when this worker stops, later when
 * there is nothing to send for a while. A job of a batch that does not run is dropped: resuming enqueues it again.
 */
import { DelayedError, WaitingError, type Job } from 'bullmq';
import { batchOf, payloadSchema, type CompletionPayload } from '../jobs/completion.ts';
import { noteTurn, rankOf } from '../jobs/turns.ts';
import { loadBatch, type BatchRecord } from '../src/batch/batch.ts';
import { readDoneBits } from '../src/batch/done-bits.ts';
import { eachLine } from '../src/batch/lines.ts';
import { defaultWindow } from '../src/batch/producer.ts';
import { messageOf } from '../src/errors.ts';
import type { BullConnection } from '../src/redis/connect.ts';
import { explainRedisError } from '../src/redis/trouble.ts';
import { parseHeld } from './approvals.ts';
import type { WorkerContext } from './context.ts';
import { createGuests, createInHand, type JobInHand } from './guests.ts';
import { createLanes, type Lanes } from './lanes.ts';
import { endWithout } from './line-end.ts';
import { runLine, type LineResult, type LineStart } from './line.ts';
import { readPutOff } from './put-off.ts';
import { lockMs, startQueueWorker } from './queue-worker.ts';
import type { Roster } from './roster.ts';
import { takeSeats } from './seated-lanes.ts';
import { createSeats, type Seats } from './seats.ts';
import { createStanding } from './standing-back.ts';

export type CompletionWorker = {
  /** Takes no more jobs, lets the calls in flight end, puts what is held back. */
  close: () => Promise<void>;
};

/** A job waits in this process as long as a window may be full, and a little; beyond that it goes back to the queue. */
const longestWaitMs = 75_000;
/** A key may be resumed or added meanwhile, which wakes no job in the queue. Lines put off keep to their own times. */
const longestDelayMs = 60_000;
const batchMaxAgeMs = 1000;
const lookEveryMs = 1000;

export function startCompletionWorker(
  ctx: WorkerContext,
  roster: Roster,
  connection: BullConnection,
  concurrency: number,
): CompletionWorker {
  const seats = createSeats(concurrency);
  const lanes = createLanes(ctx.acquire, seats, { longestWaitMs, outdatedAfterMs: ctx.config.modelsMaxAgeMs / 2 });
  const batches = createBatchCache(ctx);
  // One more job than the lines fill, so that the next lines are here when seats come free.
  const places = Math.ceil(concurrency / defaultWindow.linesPerChunk) + 1;
  const inHand = createInHand();
  let takenAt = performance.now();
  const worker = startQueueWorker({
    ctx,
    roster,
    connection,
    places,
    takeJob,
    hasRoom: () => inHand.total().jobs < places,
    lastTakenAt: () => takenAt,
  });
  ctx.stopping.addEventListener('abort', () => lanes.stop(), { once: true });
  ctx.keyring.onReplaced(() => lanes.refresh());

  const guests = createGuests({ ctx, worker: worker.current, places, inHand, takeJob, lockMs });
  const standing = createStanding(ctx, lanes);
  const noteFailedLook = (error: unknown) => ctx.log.debug({ error: messageOf(error) }, 'looking at what waits');
  let isLooking = false;
  const looking = setInterval(() => {
    if (isLooking) return;
    isLooking = true;
    Promise.all([guests.look(), standing.look()])
      .catch(noteFailedLook)
      .finally(() => (isLooking = false));
  }, lookEveryMs);

  async function takeJob(job: Job<CompletionPayload>, token = ''): Promise<void> {
    const jobId = String(job.id);
    takenAt = performance.now();
    const taken = inHand.took(batchOf(jobId), job.priority);
    try {
      await noteTurn(ctx.redis, ctx.names, job.priority);
      await runJob(job, token, taken);
    } finally {
      inHand.gaveBack(taken);
    }
  }

  async function runJob(job: Job<CompletionPayload>, token: string, taken: JobInHand): Promise<void> {
    const payload = payloadSchema.parse(job.data);
    const batch = await batches.running(payload.batchId);
    if (!batch) return;
    const results = await runLines(ctx, lanes, seats, batch, payload, (toSend) => {
      inHand.counted(taken, { lines: toSend, textLength: payload.text.length });
      if (toSend < defaultWindow.linesPerChunk) guests.look().catch(noteFailedLook);
    });
    const held = results.filter((result) => result.tag === 'held');
    if (held.length === 0) return;
    if (ctx.stopping.aborted) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    if ((await loadBatch(ctx.redis, ctx.names, payload.batchId))?.status !== 'in_progress') return;
    const retryAtMs = Math.min(...held.map((result) => result.retryAtMs ?? 0));
    const now = Date.now();
    const delayMs = Math.min(Math.max(retryAtMs - now, batchMaxAgeMs), longestDelayMs);
    await job.moveToDelayed(now + delayMs, token);
    throw new DelayedError();
  }

  return {
    async close() {
      clearInterval(looking);
      // Takes nothing more; what the guests' jobs still need of the connection is there until they have ended.
      await worker.pause();
      await guests.ended();
      await worker.close();
    },
  };
}

async function runLines(
  ctx: WorkerContext,
  lanes: Lanes,
  seats: Seats,
  batch: BatchRecord,
  payload: CompletionPayload,
  onCounted: (toSend: number) => void,
): Promise<LineResult[]> {
  const lines: { text: string; line: number }[] = [];
  // The producer's own reading: what it has counted must end here.
  eachLine(payload, (text, line) => lines.push({ text, line }));
  if (lines.length === 0) return [];
  const range = { firstLine: payload.firstLine, lineCount: (lines.at(-1)?.line ?? 0) - payload.firstLine + 1 };
  const numbers = lines.map(({ line }) => String(line));
  const [isDone, spent, approvals, putOffMs] = await Promise.all([
    readDoneBits(ctx.redis, ctx.names.done(batch.batchId), range),
    ctx.redis.hmget(ctx.names.attempts(batch.batchId), ...numbers),
    ctx.redis.hmget(ctx.names.held(batch.batchId), ...numbers),
    readPutOff(
      ctx,
      batch.batchId,
      lines.map(({ line }) => line),
    ),
  ]);
  onCounted(lines.filter(({ line }) => !isDone(line) && !putOffMs.has(line)).length);
  const running = lines.map(async ({ text, line }, index): Promise<LineResult> => {
    if (isDone(line)) return { tag: 'ended' };
    const restMs = putOffMs.get(line);
    if (restMs !== undefined) return { tag: 'held', retryAtMs: Date.now() + restMs };
    const attemptsSpent = Number(spent[index] ?? 0);
    const held = parseHeld(approvals[index]);
    const seated = takeSeats(lanes, seats, rankOf[batch.options.priority]);
    const start = { ctx, lanes: seated, batch, line, attemptsSpent, held };
    return runLine(start, text)
      .catch((error: unknown) => failByName(start, error))
      .finally(seated.leave);
  });
  // All of them settle before an error goes up: a job must not end while one of its lines is still under way.
  const settled = await Promise.allSettled(running);
  return settled.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

/** A mistake of ours in one line must not stop the others, nor come back with its job for ever. */
async function failByName(start: LineStart, error: unknown): Promise<LineResult> {
  if (explainRedisError(error)) throw error;
  const { ctx, batch, line } = start;
  const about = { batchId: batch.batchId, line, error: error instanceof Error ? error.stack : String(error) };
  ctx.log.error(about, 'a bug in nightshift: the line fails');
  return endWithout(start, null, 'internal_error', `a bug in nightshift: ${messageOf(error)}; please report it`);
}

/**
 * Batch records as this worker sees them: options stay (those of a retry are new), a status may be this old.
 * Acquire.lua sees it live.
 */
function createBatchCache(ctx: WorkerContext) {
  const known = new Map<string, { record: Promise<BatchRecord | null>; at: number }>();
  function load(batchId: string): Promise<BatchRecord | null> {
    const record = loadBatch(ctx.redis, ctx.names, batchId);
    known.set(batchId, { record, at: performance.now() });
    record.catch(() => known.delete(batchId));
    return record;
  }
  return {
    /** Null: it does not run, asked at this moment, since a job is dropped on the strength of it. */
    async running(batchId: string): Promise<BatchRecord | null> {
      const entry = known.get(batchId);
      const isFresh = entry && performance.now() - entry.at < batchMaxAgeMs;
      const cached = isFresh ? await entry.record : null;
      const record = cached?.status === 'in_progress' ? cached : await load(batchId);
      if (record?.status === 'in_progress') return record;
      known.delete(batchId);
      return null;
    },
  };
}
