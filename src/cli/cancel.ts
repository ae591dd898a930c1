/**
 * `nightshift cancel`: nothing more is sent for a batch, and every line that was not answered ends as `cancelled`.
 * While a run is alive, that one does it, since the files are its own; otherwise this command does.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { cancelBatch, isFinished, loadBatch, type BatchRecord } from '../batch/batch.ts';
import { findBatch } from '../batch/find.ts';
import { isElsewhere, sayElsewhere } from '../batch/ledgers.ts';
import { isHeld } from '../batch/lease.ts';
import { reopenBatchInput } from '../batch/render.ts';
import { assertSameInput } from '../batch/setup.ts';
import { readSpent } from '../batch/spent.ts';
import { AppError } from '../errors.ts';
import { createKeyring } from '../keys/keyring.ts';
import { openSqliteLedger } from '../ledger/sqlite.ts';
import { runBatch } from '../../workers/run.ts';
import { createInterrupts } from './interrupts.ts';
import type { Globals } from './main.ts';
import { createProgressView } from './progress-view.ts';
import { reportRun } from './run-report.ts';
import { say } from './screen.ts';
import { configOf, openSession, type Session } from './session.ts';

type CancelOptions = Globals & { json?: boolean };
type Cancel = {
  session: Session;
  store: ReturnType<typeof openSqliteLedger>;
  batch: BatchRecord;
  options: CancelOptions;
};

const examples = `
Examples:
  $ nightshift cancel prompts
  $ nightshift cancel batch_4c1b

Calls in flight end and are kept. What is done stays; all other lines go to the
error file, as cancelled. To send those after all: nightshift retry.

Exit codes:
  0  cancelled, or finished before
  2  no such batch
  5  stopped by Redis or disk
  130  interrupted; the same command goes on`;

const lookEveryMs = 100;
const looksBeforeSaying = 3;

export function registerCancel(program: Command): void {
  program
    .command('cancel')
    .description('Stops a batch for good; what is done stays.')
    .argument('<batch>', 'its name or id')
    .option('--json', 'one object on stdout at the end')
    .addHelpText('after', examples)
    .action(async (batch: string, _: unknown, command: Command) => {
      process.exitCode = await cancel(batch, command.optsWithGlobals<CancelOptions>());
    });
}

async function cancel(nameOrId: string, options: CancelOptions): Promise<number> {
  const config = configOf(options, { secrets: false });
  await using session = await openSession(options, config);
  const { redis, names } = session;
  const found = await findBatch(redis.client, names, nameOrId);
  const isNew = await cancelBatch(redis.client, names, found.batchId);
  const batch = (await loadBatch(redis.client, names, found.batchId)) ?? found;
  if (batch.status === 'validating' || batch.status === 'finalizing') {
    throw notNow(batch, await isHeld(redis.client, names, batch.batchId));
  }
  const store = openSqliteLedger(path.join(config.dataDir, 'ledger.db'));
  try {
    if (!isFinished(batch)) {
      say(`Cancelling ${batch.name}: nothing more is sent; calls in flight may end.`);
      return await finish({ session, store, batch, options });
    }
    const was = batch.status === 'completed' ? 'is completed; there is nothing to cancel' : 'was cancelled already';
    if (!isNew) say(`${batch.name} ${was}.`);
    return await report({ session, store, batch, options });
  } finally {
    await store.close();
  }
}

/** Waits for whoever runs the batch, or does it in its place. */
async function finish(of: Cancel): Promise<number> {
  const { redis, names } = of.session;
  for (let looks = 0, hasTried = false; ;) {
    const batch = await loadBatch(redis.client, names, of.batch.batchId);
    if (!batch || batch.status !== 'cancelling') return report({ ...of, batch: batch ?? of.batch });
    if (await isHeld(redis.client, names, batch.batchId)) {
      looks += 1;
      // Not at the first: a process that has just been killed may still be seen.
      if (looks === looksBeforeSaying) say('The process that runs it writes down the rest.');
      hasTried = false;
      await sleep(lookEveryMs);
      continue;
    }
    if (hasTried) throw resultsMissing(batch);
    if (looks >= looksBeforeSaying) say('It has ended; this command writes down the rest.');
    looks = 0;
    hasTried = await finishHere({ ...of, batch });
  }
}

/** False: another command was quicker to take it up. */
async function finishHere({ session, store, batch, options }: Cancel): Promise<boolean> {
  const { config, redis, names, log } = session;
  const input = await reopenBatchInput(batch, path.join(config.dataDir, 'spool'));
  await assertSameInput({ input, name: batch.name }, batch);
  const keyring = createKeyring(config);
  const interrupts = createInterrupts(say);
  const view = createProgressView({ redis: redis.client, names, keyring, color: options.color });
  try {
    await runBatch({
      config,
      keyring,
      redis,
      log,
      store,
      batchId: batch.batchId,
      input,
      prepare: () => Promise.resolve(),
      concurrency: 0,
      interrupted: interrupts.stop,
      aborted: interrupts.abort,
      onProgress: view.show,
    });
    return true;
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'usage') throw error;
    return false;
  } finally {
    view.end();
    interrupts.close();
  }
}

async function report({ store, batch, options }: Cancel): Promise<number> {
  if (isElsewhere(batch, store)) say(sayElsewhere(batch, store));
  const ledger = await readSpent(batch, store);
  reportRun({ record: batch, ledger }, { json: options.json ?? false, simulated: false });
  return 0;
}

function notNow({ name, status, manifestFile }: BatchRecord, isBeingHeld: boolean): AppError {
  if (status === 'finalizing') {
    return new AppError(
      'usage',
      `${name} has ended all its lines and is writing its files: there is nothing to cancel`,
    );
  }
  const why = isBeingHeld
    ? 'is still being set up, and nothing was sent yet: end its command, or wait a moment'
    : `was not set up to the end, and nothing was sent; its command is gone: run it again, or move ${manifestFile} away`;
  return new AppError('usage', `${name} ${why}`);
}

/** Its lines have ended, as Redis knows, and are neither there nor in the files. */
function resultsMissing({ name, total, collected }: BatchRecord): AppError {
  return new AppError(
    'redis',
    `results of ${name} are missing from Redis: expected ${total} lines in its files, but only ${collected.lines} ` +
      'are there; was its data deleted, or restored from a backup? To run the input again, choose another --name or --out',
  );
}
