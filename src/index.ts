/**
 * The library: what a program needs to run a batch or to read what was spent, without the command line. It stands
 * outside as `cli/` does, wires the same parts, and keeps the same promises: a batch that stopped goes on with the same
 * call, or with the same command.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { runBatch as runPrepared } from '../workers/run.ts';
import { autoConcurrency } from '../workers/process.ts';
import { refuseUnknownModels } from '../workers/providers.ts';
import { isFinished, loadBatch, type BatchRecord, type BatchStatus, type Priority } from './batch/batch.ts';
import { takeFinished } from './batch/finished.ts';
import { openInput } from './batch/input.ts';
import { usd } from './batch/manifest.ts';
import { continueBatch, setUpBatch } from './batch/setup.ts';
import { knownNanoUsd, moneyOf, readSpent, type Spent } from './batch/spent.ts';
import { nanoUsdPerUsd, type Config } from './config.ts';
import { AppError, type AppErrorCode } from './errors.ts';
import { createKeyring, requireKeys, type Keyring } from './keys/keyring.ts';
import { withOrganisations } from './keys/announced.ts';
import { reopenKeys } from './keys/standing.ts';
import { openSqliteLedger } from './ledger/sqlite.ts';
import type { UsageQuery, UsageRow } from './ledger/store.ts';
import { createLog, type Log, type LogLevel } from './log.ts';
import { checkServer } from './redis/checks.ts';
import { openRedis, type RedisHandle } from './redis/connect.ts';
import { createNames, type Names } from './redis/names.ts';

export { loadConfig } from './config.ts';
export type { Config, ConfigOptions, KeyConfig, Price, ProviderConfig } from './config.ts';
export { AppError, createKeyring };
export type { AppErrorCode, BatchStatus, Keyring, UsageQuery, UsageRow };
export type { Key } from './keys/keyring.ts';
export type { Totals, UsageGrouping } from './ledger/store.ts';

/** The options of `nightshift run`, under the same names. */
export type RunOptions = {
  config: Config;
  /** Where the results go. Default: beside the input. */
  out?: string | undefined;
  /** Of the batch and its files. Default: the input's. */
  name?: string | undefined;
  /** Of the lines that name none. */
  model?: string | undefined;
  budgetUsd?: number | undefined;
  /** Calls at once. Default: chosen from the keys' limits. */
  concurrency?: number | undefined;
  attempts?: number | undefined;
  /** Before or behind other batches on the same Redis. Default: normal. */
  priority?: Priority | undefined;
  /** Ask for streamed answers; the results are the same. */
  stream?: boolean | undefined;
  /** Leave out parameters that a model does not take, instead of failing the line. */
  dropUnsupported?: boolean | undefined;
  ordered?: boolean | undefined;
  skipInvalid?: boolean | undefined;
  pinModels?: boolean | undefined;
  /** Aborted: nothing more is sent, calls in flight may end (30 s), then the promise resolves. */
  signal?: AbortSignal | undefined;
  /** About twice a second, and at the end. */
  onProgress?: ((progress: BatchProgress) => void) | undefined;
  /** Log lines on stderr. Default: warn. */
  logLevel?: LogLevel | undefined;
};

export type BatchProgress = {
  batchId: string;
  name: string;
  status: BatchStatus;
  counts: { total: number; completed: number; failed: number };
  /** Null: not one known. */
  costUsd: number | null;
};

/** What `nightshift run --json` prints. */
export type BatchResult = BatchProgress & {
  /** Calls of which no whole answer came. */
  possiblyBilled: number;
  outputFile: string;
  errorFile: string;
  manifestFile: string;
  /** Why it did not complete; the same call goes on with it. */
  stoppedBy: { code: AppErrorCode; cause: string } | null;
};

/**
 * Runs a JSONL file, or goes on with it where it stopped. Resolves when every line has ended or the batch stops, for
 * the reason in `stoppedBy`. Errors: AppError, for what keeps it from starting (`config`, `input`, `credentials`, …)
 * and for a disk or a Redis that fails under way.
 */
export async function runBatch(inputFile: string, options: RunOptions): Promise<BatchResult> {
  const { config } = options;
  const keyring = createKeyring(config);
  requireKeys(keyring);
  const spoolDir = path.join(config.dataDir, 'spool');
  const input = await openInput(path.resolve(inputFile), { spoolDir });
  await using session = await openSession(config, createLog(options.logLevel ?? 'warn'));
  const redis = session.redis.client;
  const store = openSqliteLedger(path.join(config.dataDir, 'ledger.db'));
  const budgetNanoUsd = options.budgetUsd === undefined ? null : Math.round(options.budgetUsd * nanoUsdPerUsd);
  try {
    const batch = await setUpBatch({
      redis,
      names: session.names,
      keyring,
      store,
      input,
      name: options.name ?? input.name,
      outDir: path.resolve(options.out ?? path.dirname(input.path)),
      spoolDir,
      options: {
        model: options.model ?? null,
        attempts: options.attempts ?? config.attempts,
        deadlineMs: config.deadlineMs,
        skipInvalid: options.skipInvalid ?? false,
        pinModels: options.pinModels ?? false,
        stream: options.stream ?? false,
        dropUnsupported: options.dropUnsupported ?? false,
        ordered: options.ordered ?? false,
        priority: options.priority ?? 'normal',
      },
      budgetNanoUsd,
      beforeNew: (models) =>
        refuseUnknownModels({ ...session, redis, keyring, budgetNanoUsd }, models, options.skipInvalid ?? false),
      say: (text) => session.log.info(text),
    });
    if (isFinished(batch)) {
      await using finished = await takeFinished(redis, session.names, batch);
      return resultOf(finished.batch, await readSpent(finished.batch, store));
    }
    const prepare = async () => {
      const { deadlineMs } = config;
      await continueBatch({ redis, names: session.names, budgetNanoUsd, keyring, deadlineMs }, batch);
      await reopenKeys(redis, session.names, await withOrganisations(redis, session.names, keyring.keys));
    };
    try {
      const { record, ledger } = await runPrepared({
        config,
        keyring,
        redis: session.redis,
        log: session.log,
        store,
        batchId: batch.batchId,
        input,
        prepare,
        concurrency: options.concurrency ?? autoConcurrency(keyring),
        interrupted: options.signal ?? new AbortController().signal,
        aborted: new AbortController().signal,
        onProgress: (now) => options.onProgress?.(progressOf(now)),
      });
      return resultOf(record, ledger);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'interrupted') throw error;
      const record = (await loadBatch(redis, session.names, batch.batchId)) ?? batch;
      const ledger = await store.batchSummary(batch.batchId);
      return { ...resultOf(record, ledger), stoppedBy: { code: 'interrupted', cause: 'interrupted' } };
    }
  } finally {
    await store.close();
  }
}

/** Sums of the ledger in the data directory; no rows before the first batch. Errors: AppError `disk`. */
export async function readUsage(config: Pick<Config, 'dataDir'>, query: UsageQuery): Promise<UsageRow[]> {
  const file = path.join(config.dataDir, 'ledger.db');
  if (!existsSync(file)) return [];
  const store = openSqliteLedger(file);
  try {
    return await store.usage(query);
  } finally {
    await store.close();
  }
}

type Session = AsyncDisposable & { config: Config; redis: RedisHandle; names: Names; log: Log };

/** Unlike the command, a library waits through an outage of Redis: its program decides when to give up. */
async function openSession(config: Config, log: Log): Promise<Session> {
  const redis = await openRedis({ url: config.redisUrl, dataDir: config.dataDir, log });
  try {
    await checkServer(redis.client, log);
  } catch (error) {
    await redis.close();
    throw error;
  }
  const names = createNames(config.namespace);
  return { config, redis, names, log, [Symbol.asyncDispose]: () => redis.close() };
}

function progressOf(record: BatchRecord): BatchProgress {
  const { batchId, name, status, total, counts } = record;
  return { batchId, name, status, counts: { total, ...counts }, costUsd: knownNanoUsd(record) / nanoUsdPerUsd };
}

function resultOf(record: BatchRecord, ledger: Spent): BatchResult {
  const { costNanoUsd, possiblyBilled } = moneyOf(record, ledger);
  return {
    ...progressOf(record),
    costUsd: usd(costNanoUsd),
    possiblyBilled,
    outputFile: record.outputFile,
    errorFile: record.errorFile,
    manifestFile: record.manifestFile,
    stoppedBy: record.stop,
  };
}
