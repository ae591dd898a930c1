/**
 * One batch run from this process: lease, producer, collector, ledger drain and (unless `--no-worker`) a worker, until
 * the batch is finished or stops. Whatever ends it — the last line, an empty wallet, Ctrl-C, a full disk — the order of
 * leaving is the same: send nothing more, let calls in flight end, write down what came, say where things stand.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createQueue } from '../jobs/completion.ts';
import { writeAnswersCsv } from '../src/batch/answers-csv.ts';
import { loadBatch, moveBatch, restoreCounts, type BatchRecord, type BatchStatus } from '../src/batch/batch.ts';
import { openCollector, type Collector } from '../src/batch/collector.ts';
import type { InputFile } from '../src/batch/input.ts';
import { refuseOtherLedger, useLedger } from '../src/batch/ledgers.ts';
import { takeLease, type Lease } from '../src/batch/lease.ts';
import { readWholeFiles, refuseOtherManifest, writeManifest } from '../src/batch/manifest.ts';
import { putInOrder } from '../src/batch/ordered.ts';
import { forgetErrorsBefore } from '../src/batch/errors-aside.ts';
import type { Config } from '../src/config.ts';
import { AppError } from '../src/errors.ts';
import type { Keyring } from '../src/keys/keyring.ts';
import { createLedgerDrain } from '../src/ledger/drain.ts';
import type { BatchSummary, LedgerStore } from '../src/ledger/store.ts';
import type { Log } from '../src/log.ts';
import type { RedisHandle } from '../src/redis/connect.ts';
import { createNames } from '../src/redis/names.ts';
import { explainRedisError } from '../src/redis/trouble.ts';
import { createBudgetWarnings } from './budgets.ts';
import { endCancelled } from './cancelling.ts';
import { interruption, isInterruption, pauseInterrupted, unlessInterrupted } from './interruption.ts';
import { createNobodyWatch } from './nobody.ts';
import { pauseForFiles } from './pausing.ts';
import { startWorkerProcess, type WorkerProcess } from './process.ts';
import { startProducing, type Producing } from './producing.ts';

export type RunOptions = {
  config: Config;
  keyring: Keyring;
  redis: RedisHandle;
  log: Log;
  store: LedgerStore;
  batchId: string;
  input: InputFile;
  /** Done once the batch is this process' own, before anything else: a second command must change nothing. */
  prepare: (assertOurs: Lease['assertOurs']) => Promise<void>;
  /** 0: produce and collect only. */
  concurrency: number;
  /** Ctrl-C: stop in good order. */
  interrupted: AbortSignal;
  /** A second Ctrl-C: end the calls in flight, too. */
  aborted: AbortSignal;
  onProgress: (record: BatchRecord) => void;
};

export type RunResult = { record: BatchRecord; ledger: BatchSummary };

const collectBlockMs = 200;
const progressEveryMs = 500;
/** A commit costs two disk syncs and some questions to Redis: fewer results than this wait a moment for more. */
const worthACommit = 500;
const gatherMs = 20;
const graceMs = 30_000;
const doneBitsKeptSeconds = 7 * 86_400;
/** Answers that Redis does not take are lost however long they are waited for; a short trouble may pass. */
const graceWithoutRedisMs = 3000;

/**
 * Errors: whatever stopped it that is not the batch's own stop (`input`, `disk`, `redis`, `interrupted`; `usage` when
 * another process has the batch, or has had it since).
 */
export async function runBatch(options: RunOptions): Promise<RunResult> {
  const { redis, log, batchId, interrupted } = options;
  const names = createNames(options.config.namespace);
  const lease = await takeLease(redis.client, names, batchId, { interrupted });
  await using undo = new AsyncDisposableStack();
  undo.defer(() => lease.release());
  const found = await mustLoad();
  refuseOtherLedger(found, options.store, log);
  await refuseOtherManifest(found);
  // From here on the batch changes.
  if (interrupted.aborted) throw interruption();
  await lease.assertOurs();
  await options.prepare(lease.assertOurs);
  await useLedger(redis.client, names, batchId, options.store);

  let record = await mustLoad();
  const whole = record.collected.lines < record.total ? await readWholeFiles(record.manifestFile) : null;
  if (whole) {
    await restoreCounts(redis.client, names, record, whole);
    record = await mustLoad();
  }
  const budgets = createBudgetWarnings(options);
  const queue = createQueue(redis.connectionOptions, names);
  queue.on('error', () => undefined);
  undo.defer(() => queue.close());
  const drain = createLedgerDrain({ redis: redis.client, names, batchId, store: options.store, log });
  drain.start();
  undo.defer(() => drain.stop());
  let failure: unknown = null;
  const collector = await openCollector({
    redis: redis.client,
    blocking: redis.duplicate('collector'),
    names,
    batchId,
    files: record,
    lease,
    commit: record.collected,
  }).catch(endWith);
  undo.defer(() => collector.close());
  await saveManifest(record).catch(endWith);

  let worker: WorkerProcess | null = null;
  const producing = new AbortController();
  try {
    // Whole already, when a crash came between the last line and the end: what is left in the stream is in the files.
    if (!isWhole(collector) && record.status !== 'cancelling') await produceAndCollect();
  } catch (error) {
    failure = await causeOf(error);
  }
  producing.abort();
  // What fails on the way out fails for the same reason, most of the time.
  return await leave().catch((error: unknown) => endWith(failure ?? error));

  async function endWith(error: unknown): Promise<never> {
    throw error === failure ? error : await causeOf(error);
  }

  /** Called before anything is waited for: workers elsewhere go on sending until they hear of it. */
  async function causeOf(thrown: unknown): Promise<unknown> {
    if (isInterruption(thrown) || explainRedisError(thrown)) return thrown;
    // Files and queue are another's then: what was found in them is nothing to tell.
    const overtaken: unknown = await lease.assertOurs().catch((refusal: unknown) => refusal);
    if (overtaken instanceof AppError) return overtaken;
    await pauseForFiles(redis.client, names, batchId, thrown);
    return thrown;
  }

  async function produceAndCollect(): Promise<void> {
    const abortCalls = () => worker?.abortCalls();
    options.aborted.addEventListener('abort', abortCalls, { once: true });
    await unlessInterrupted(interrupted, stopSending, async () => {
      if (options.concurrency > 0) worker = await startWorkerProcess(options);
      if (options.aborted.aborted) abortCalls();
    });
    const producer = startProducing(
      { redis: redis.client, names, input: options.input, log, assertOurs: lease.assertOurs },
      record,
      queue,
      producing.signal,
    );
    void lease.lost.then(() => producing.abort());
    await collectUntilStopped(collector, producer);
  }

  async function leave(): Promise<RunResult> {
    await worker?.stop(await graceOf(failure).catch(() => graceMs));
    // What the last calls answered; a collector that failed (disk full) is not asked again.
    if (!failure || isInterruption(failure)) while (!isWhole(collector) && (await collector.collectOnce(0)) > 0);
    if (!failure) await cancelTheRest();
    const finished = await finish(collector);
    // The rest is for the batch's holder alone: who took it over has a ledger to fill and a manifest to write.
    await collector.assertOurs();
    await drain.flush();
    if (finished) await drain.forgetEmpty();
    const final = finished ?? (await mustLoad());
    options.onProgress(final);
    await budgets.last(final);
    const ledger = await saveManifest(final);
    if (failure && !finished) throw failure;
    return { record: final, ledger };
  }

  /** A cancelled batch's calls are waited for: they are paid, and their answers are kept. */
  async function graceOf(error: unknown): Promise<number> {
    if (explainRedisError(error)) return graceWithoutRedisMs;
    return !error && (await mustLoad()).status === 'cancelling' ? options.config.attemptTimeoutMs : graceMs;
  }

  async function cancelTheRest(): Promise<void> {
    const batch = await mustLoad();
    if (batch.status !== 'cancelling' || isWhole(collector)) return;
    await endCancelled({ redis: redis.client, names, log, batch, input: options.input, collector, interrupted });
  }

  async function mustLoad(): Promise<BatchRecord> {
    const loaded = await loadBatch(redis.client, names, batchId);
    if (!loaded) throw new AppError('redis', `${batchId} is gone from ${redis.describe()}: was its data deleted?`);
    return loaded;
  }

  async function saveManifest(of: BatchRecord): Promise<BatchSummary> {
    const ledger = await options.store.batchSummary(batchId);
    await collector.assertOurs();
    await writeManifest(of, ledger);
    return ledger;
  }

  async function collectUntilStopped(from: Collector, to: Producing): Promise<void> {
    let loadedAt = Number.NEGATIVE_INFINITY;
    const nobody = createNobodyWatch({ redis: redis.client, names, log });
    for (;;) {
      const added = await from.collectOnce(collectBlockMs);
      if (added > 0) to.producer.collected(from.committed().lines);
      if (to.error) throw to.error;
      if (added > 0 && added < worthACommit && !isWhole(from)) await sleep(gatherMs);
      if (interrupted.aborted) throw await stopSending();
      if (options.concurrency === 0) await nobody.look(added);
      if (!isWhole(from) && performance.now() - loadedAt < progressEveryMs) continue;
      loadedAt = performance.now();
      // A Redis that takes no more writes says so here; without this, only to the jobs, one by one.
      await redis.client.hset(names.batch(batchId), 'seenAt', Date.now());
      const now = await mustLoad();
      options.onProgress(now);
      await budgets.look(now);
      if (isWhole(from) || now.status !== 'in_progress') return;
    }
  }

  function stopSending(): Promise<AppError> {
    return pauseInterrupted(redis.client, names, batchId);
  }

  function isWhole(of: Collector): boolean {
    return of.committed().lines >= record.total;
  }

  /** The batch's record at its end, or null when lines are missing yet. */
  async function finish(from: Collector): Promise<BatchRecord | null> {
    if (!isWhole(from)) return null;
    await from.assertOurs();
    const move = (before: BatchStatus[], to: BatchStatus) =>
      moveBatch(redis.client, names, batchId, { from: before, to, stop: null });
    // It may be cancelled while its last lines end; then that is what it is called.
    const isCancelled = !(await move(['in_progress', 'paused', 'finalizing'], 'finalizing'));
    // On disk before the files are touched again: after a power cut it is what tells that they were whole.
    await saveManifest(await mustLoad());
    if (record.options.ordered) {
      await putInOrder(record.outputFile);
      await putInOrder(record.errorFile);
    }
    if (record.options.csv) await writeAnswersCsv(record, options.config.prices);
    // A process that slept till now may be too late: once the batch is finished, these may be a retry's.
    await from.assertOurs();
    await forgetErrorsBefore(record);
    await redis.client.del(names.attempts(batchId), names.results(batchId), names.held(batchId));
    // A worker that was asleep may still settle: the bits tell it that its line has ended.
    await redis.client.expire(names.done(batchId), doneBitsKeptSeconds);
    await (isCancelled ? move(['cancelling'], 'cancelled') : move(['finalizing'], 'completed'));
    return mustLoad();
  }
}
