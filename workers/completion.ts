/**
 * The queue's side of a worker: takes jobs from BullMQ, runs their lines, and says how each job ends. The only code
 * that knows BullMQ's control errors.
 *
 * A job ends when all its lines have ended. Lines that are held put it back: at once when this worker stops, later when
 * there is nothing to send for a while. A job of a batch that does not run is dropped: resuming enqueues it again.
 */
import { DelayedError, WaitingError, Worker, type Job } from 'bullmq';
import { payloadSchema, queueName, type CompletionPayload } from '../jobs/completion.ts';
import { loadBatch, type BatchRecord } from '../src/batch/batch.ts';
import { readDoneBits } from '../src/batch/done-bits.ts';
import { defaultWindow } from '../src/batch/producer.ts';
import { messageOf } from '../src/errors.ts';
import type { BullConnection } from '../src/redis/connect.ts';
import { explainRedisError } from '../src/redis/trouble.ts';
import { parseHeld } from './approvals.ts';
import type { WorkerContext } from './context.ts';
import { createLanes, type Lanes } from './lanes.ts';
import { endWithout } from './line-end.ts';
import { runLine, type LineResult, type LineStart } from './line.ts';
import type { Roster } from './roster.ts';
import { createSeats } from './seats.ts';

export type CompletionWorker = {
  /** Takes no more jobs, lets the calls in flight end, puts what is held back. */
  close: () => Promise<void>;
};

/** The roster notices deaths sooner; locks are for what it cannot see. Long, so that a busy minute loses none. */
const lockMs = 60_000;
const stalledCheckMs = 15_000;
/** Deaths in a line's attempts are counted there (settle.lua); the queue's own count must not end a job sooner. */
const maxStalledCount = 1_000_000;
/** A job waits in this process as long as a window may be full, and a little; beyond that it goes back to the queue. */
const longestWaitMs = 75_000;
const batchMaxAgeMs = 1000;

export function startCompletionWorker(
  ctx: WorkerContext,
  roster: Roster,
  connection: BullConnection,
  concurrency: number,
): CompletionWorker {
  const lanes = createLanes(ctx.acquire, { longestWaitMs, outdatedAfterMs: ctx.config.modelsMaxAgeMs / 2 });
  const seats = createSeats(concurrency);
  const batches = createBatchCache(ctx);
  const worker = new Worker<CompletionPayload>(queueName, takeJob, {
    connection,
    prefix: ctx.names.queuePrefix,
    // One more job than the lines fill, so that the next lines are here when seats come free.
    concurrency: Math.ceil(concurrency / defaultWindow.linesPerChunk) + 1,
    lockDuration: lockMs,
    stalledInterval: stalledCheckMs,
    maxStalledCount,
    drainDelay: 1,
  });
  worker.on('error', (error) => ctx.log.debug({ error: messageOf(error) }, 'queue'));
  worker.on('failed', (job, error) => {
    // What is wrong with Redis, the run says once; here it would be once a job.
    const level = explainRedisError(error) ? 'debug' : 'error';
    ctx.log[level]({ jobId: job?.id, error: error.stack }, 'job failed');
  });
  ctx.stopping.addEventListener('abort', () => lanes.stop(), { once: true });
  ctx.keyring.onReplaced(() => lanes.refresh());

  async function takeJob(job: Job<CompletionPayload>, token = ''): Promise<void> {
    const jobId = String(job.id);
    await roster.took(jobId, token);
    try {
      await runJob(job, token);
    } finally {
      await roster.gaveBack(jobId);
    }
  }

  async function runJob(job: Job<CompletionPayload>, token: string): Promise<void> {
    const payload = payloadSchema.parse(job.data);
    const batch = await batches.get(payload.batchId);
    if (batch?.status !== 'in_progress') return;
    const results = await runLines(ctx, lanes, seats, batch, payload);
    const held = results.filter((result) => result.tag === 'held');
    if (held.length === 0) return;
    if (ctx.stopping.aborted) {
      await job.moveToWait(token);
      throw new WaitingError();
    }
    if ((await loadBatch(ctx.redis, ctx.names, payload.batchId))?.status !== 'in_progress') return;
    const retryAtMs = Math.min(...held.map((result) => result.retryAtMs ?? 0));
    await job.moveToDelayed(Math.max(retryAtMs, Date.now() + batchMaxAgeMs), token);
    throw new DelayedError();
  }

  return { close: () => worker.close() };
}

async function runLines(
  ctx: WorkerContext,
  lanes: Lanes,
  seats: ReturnType<typeof createSeats>,
  batch: BatchRecord,
  payload: CompletionPayload,
): Promise<LineResult[]> {
  const lines = payload.text
    .split('\n')
    .map((text, index) => ({ text, line: payload.firstLine + index }))
    .filter(({ text }) => text.trim() !== '');
  if (lines.length === 0) return [];
  const range = { firstLine: payload.firstLine, lineCount: (lines.at(-1)?.line ?? 0) - payload.firstLine + 1 };
  const numbers = lines.map(({ line }) => String(line));
  const [isDone, spent, approvals] = await Promise.all([
    readDoneBits(ctx.redis, ctx.names.done(batch.batchId), range),
    ctx.redis.hmget(ctx.names.attempts(batch.batchId), ...numbers),
    ctx.redis.hmget(ctx.names.held(batch.batchId), ...numbers),
  ]);
  const running = lines.map(async ({ text, line }, index): Promise<LineResult> => {
    if (isDone(line)) return { tag: 'ended' };
    const attemptsSpent = Number(spent[index] ?? 0);
    const held = parseHeld(approvals[index]);
    const start = { ctx, lanes, batch, line, attemptsSpent, held };
    return seats.sit(() => runLine(start, text).catch((error: unknown) => failByName(start, error)));
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

/** Batch records as this worker sees them: options never change, a status may be this old. acquire.lua sees it live. */
function createBatchCache(ctx: WorkerContext) {
  const known = new Map<string, { record: Promise<BatchRecord | null>; at: number }>();
  return {
    get(batchId: string): Promise<BatchRecord | null> {
      const entry = known.get(batchId);
      if (entry && performance.now() - entry.at < batchMaxAgeMs) return entry.record;
      const record = loadBatch(ctx.redis, ctx.names, batchId);
      known.set(batchId, { record, at: performance.now() });
      record.catch(() => known.delete(batchId));
      return record;
    },
  };
}
