/** Running a batch that is set up, from a terminal: what `run`, `resume` and `retry` have in common. */
import { existsSync } from 'node:fs';
import { answersFileOf, writeAnswersCsv } from '../batch/answers-csv.ts';
import { isFinished, loadBatch, type BatchRecord } from '../batch/batch.ts';
import type { InputFile } from '../batch/input.ts';
import { takeFinished } from '../batch/finished.ts';
import { isElsewhere, sayElsewhere } from '../batch/ledgers.ts';
import { writeManifest } from '../batch/manifest.ts';
import { continueBatch } from '../batch/setup.ts';
import { readSpent } from '../batch/spent.ts';
import { AppError } from '../errors.ts';
import { withOrganisations } from '../keys/announced.ts';
import type { Keyring } from '../keys/keyring.ts';
import { registerKeys, reopenKeys } from '../keys/standing.ts';
import { createLedgerDrain } from '../ledger/drain.ts';
import type { openSqliteLedger } from '../ledger/sqlite.ts';
import { autoConcurrency } from '../../workers/process.ts';
import { runBatch } from '../../workers/run.ts';
import { operatingErrorOf } from './failure.ts';
import { createInterrupts } from './interrupts.ts';
import { watchKeys } from './key-reload.ts';
import type { Globals } from './main.ts';
import { createProgressView } from './progress-view.ts';
import { unlessAway } from '../redis/unless-away.ts';
import { reportLost, reportRun } from './run-report.ts';
import { say } from './screen.ts';
import type { Session } from './session.ts';

export type GoOnOptions = Globals & {
  budget?: number;
  concurrency: number | 'auto';
  worker: boolean;
  simulate?: boolean;
  json?: boolean;
};

type GoOn = {
  session: Session;
  keyring: Keyring;
  store: ReturnType<typeof openSqliteLedger>;
  input: InputFile;
  batch: BatchRecord;
  options: GoOnOptions;
  /** First, once the batch is this process' own: how a finished one begins once more. */
  begin?: () => Promise<void>;
};

/** Runs a batch that is set up, shows its progress, reports its end, and returns the exit code. */
export async function goOn(of: GoOn): Promise<number> {
  const { session, keyring, store, input, batch, options } = of;
  const { config, redis, names, log } = session;
  const json = options.json ?? false;
  const simulated = options.simulate ?? false;
  if (isFinished(batch) && !of.begin) return sayFinished(of);
  const prepare = async (assertOurs: () => Promise<void>) => {
    await of.begin?.();
    isBegun = true;
    const { deadlineMs } = config;
    const budgetNanoUsd = options.budget ?? null;
    await continueBatch({ redis: redis.client, names, budgetNanoUsd, keyring, deadlineMs }, batch);
    const keys = await withOrganisations(redis.client, names, keyring.keys);
    // A process that slept up to here has nothing to open, and nothing to tell, of a batch that is another's.
    await assertOurs();
    const reopened = await reopenKeys(redis.client, names, keys);
    await assertOurs();
    if (reopened.length > 0) say(`Trying again keys that were retired: ${reopened.join(', ')}.`);
    const done = batch.counts.completed + batch.counts.failed;
    if (batch.status === 'cancelling') say(`${batch.name} is being cancelled.`);
    else if (done > 0 && !of.begin) say(`Going on with ${batch.name}: ${done} of ${batch.total} lines are done.`);
  };

  const interrupts = createInterrupts(say);
  const view = createProgressView({ redis: redis.client, names, keyring, color: options.color });
  // A rehearsal's keys come from no file.
  using _reload = simulated
    ? null
    : watchKeys({
        globals: options,
        config,
        keyring,
        register: (keys) => registerKeys(redis.client, names, keys),
        say,
      });
  const concurrency = options.concurrency === 'auto' ? autoConcurrency(keyring) : options.concurrency;
  let known = batch;
  let isBegun = false;
  const tellLost = (error: AppError | null) => {
    session.lastWords = null;
    if (json && error && (isBegun || error.code === 'redis' || error.code === 'disk')) reportLost(known, error);
  };
  session.lastWords = tellLost;
  try {
    const result = await runBatch({
      config,
      keyring,
      redis,
      log,
      store,
      batchId: batch.batchId,
      input,
      prepare,
      concurrency: options.worker ? concurrency : 0,
      interrupted: interrupts.stop,
      aborted: interrupts.abort,
      onProgress: (record) => {
        known = record;
        view.show(record);
      },
    });
    view.end();
    return reportRun(result, { json, simulated });
  } catch (error) {
    view.end();
    if (!(error instanceof AppError) || error.code !== 'interrupted') {
      // It was paused, or another process has gone on with it.
      known = (await unlessAway(loadBatch(redis.client, names, known.batchId))) ?? known;
      tellLost(operatingErrorOf(error));
      throw error;
    }
    const record = (await loadBatch(redis.client, names, batch.batchId)) ?? batch;
    const ledger = await store.batchSummary(batch.batchId);
    return reportRun({ record, ledger }, { json, simulated, interrupted: true });
  } finally {
    session.lastWords = null;
    interrupts.close();
  }
}

/** Nothing is sent; what a crash kept from being written down is, unless another process is about to do something. */
async function sayFinished({ session, store, batch: found, options }: GoOn): Promise<number> {
  const { config, redis, names, log } = session;
  await using finished = await takeFinished(redis.client, names, found);
  const { batch, isOurs } = finished;
  const hasLedger = !isElsewhere(batch, store);
  if (isOurs) {
    const lacksTable = batch.options.csv && !existsSync(answersFileOf(batch));
    if (lacksTable) await writeAnswersCsv(batch, config.prices);
    // What a full disk kept out of the ledger at the end is still in Redis.
    if (hasLedger) await createLedgerDrain({ redis: redis.client, names, batchId: batch.batchId, store, log }).flush();
  }
  // And what a crash kept out of the manifest.
  if (isOurs && hasLedger) await writeManifest(batch, await store.batchSummary(batch.batchId));
  const ledger = await readSpent(batch, store);
  const was = batch.status === 'completed' ? 'is completed already' : 'was cancelled';
  say(`${batch.name} ${was}; nothing was sent.`);
  if (!hasLedger) say(sayElsewhere(batch, store));
  return reportRun({ record: batch, ledger }, { json: options.json ?? false, simulated: options.simulate ?? false });
}
