/**
 * BullMQ's worker as we use it: its options, and its replacement by another when it stops taking jobs without a word
 * (watchdog.ts). The one that is replaced ends what it has in hand.
 */
import { Worker, type Processor } from 'bullmq';
import { queueName, type CompletionPayload } from '../jobs/completion.ts';
import { messageOf } from '../src/errors.ts';
import type { BullConnection } from '../src/redis/connect.ts';
import { explainRedisError } from '../src/redis/trouble.ts';
import type { WorkerContext } from './context.ts';
import type { Roster } from './roster.ts';
import { startWatchdog } from './watchdog.ts';

export type QueueWorker = {
  /** The one that takes jobs now. */
  current: () => Worker<CompletionPayload>;
  /** Takes no more jobs; does not wait for those in hand. */
  pause: () => Promise<void>;
  /** Resolves when those in hand have ended. */
  close: () => Promise<void>;
};

export type QueueWorkerOptions = {
  ctx: WorkerContext;
  roster: Roster;
  connection: BullConnection;
  /** Jobs at once. */
  places: number;
  takeJob: Processor<CompletionPayload, void>;
  /** False while it has as many jobs in hand as it may. */
  hasRoom: () => boolean;
  /** When (performance.now) a job was taken last. */
  lastTakenAt: () => number;
};

/** The roster notices deaths sooner; locks are for what it cannot see. Long, so that a busy minute loses none. */
export const lockMs = 60_000;
const stalledCheckMs = 15_000;
/** Deaths in a line's attempts are counted there (settle.lua); the queue's own count must not end a job sooner. */
const maxStalledCount = 1_000_000;
/** After a fetch that failed: Redis is back sooner than BullMQ's 15 s. */
const refetchMs = 1000;

export function startQueueWorker(options: QueueWorkerOptions): QueueWorker {
  const { ctx, roster, connection, places, takeJob, hasRoom, lastTakenAt } = options;
  const workers = new Set<Worker<CompletionPayload>>();
  let createdAt = performance.now();

  function create(): Worker<CompletionPayload> {
    createdAt = performance.now();
    const worker = new Worker<CompletionPayload>(queueName, takeJob, {
      connection,
      prefix: ctx.names.queuePrefix,
      concurrency: places,
      lockDuration: lockMs,
      stalledInterval: stalledCheckMs,
      maxStalledCount,
      drainDelay: 1,
      runRetryDelay: refetchMs,
      autorun: false,
    });
    workers.add(worker);
    worker.on('error', (error) => ctx.log.debug({ error: messageOf(error) }, 'queue'));
    worker.on('failed', (job, error) => {
      // What is wrong with Redis, the run says once; here it would be once a job.
      const level = explainRedisError(error) ? 'debug' : 'error';
      ctx.log[level]({ jobId: job?.id, error: error.stack }, 'job failed');
    });
    begin(worker).catch((error: unknown) => ctx.log.error({ error: messageOf(error) }, 'the queue worker ended'));
    return worker;
  }

  async function begin(worker: Worker<CompletionPayload>): Promise<void> {
    await roster.uses(worker.id);
    if (!ctx.stopping.aborted && worker === current) await worker.run();
  }

  let current: Worker<CompletionPayload>;
  // After this line, since `begin` looks at it.
  current = create();

  const watchdog = startWatchdog({
    isWorkWaiting: async () => {
      const [waiting, prioritized] = await Promise.all([
        ctx.redis.llen(current.toKey('wait')),
        ctx.redis.zcard(current.toKey('prioritized')),
      ]);
      return waiting + prioritized > 0;
    },
    lastTakenAt: () => Math.max(createdAt, lastTakenAt()),
    hasRoom: () => !ctx.stopping.aborted && hasRoom(),
    async recreate() {
      const silent = current;
      current = create();
      silent.close().then(
        () => workers.delete(silent),
        (error: unknown) => ctx.log.debug({ error: messageOf(error) }, 'closing a silent worker'),
      );
    },
    log: ctx.log,
  });

  return {
    current: () => current,
    async pause() {
      watchdog[Symbol.dispose]();
      await Promise.all([...workers].map((worker) => worker.pause(true)));
    },
    async close() {
      await Promise.all([...workers].map((worker) => worker.close()));
    },
  };
}
