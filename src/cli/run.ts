/** `nightshift run` and `nightshift resume`: a file of prompts in, a file of answers out. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { answersFileOf, writeAnswersCsv } from '../batch/answers-csv.ts';
import { writeManifest } from '../batch/manifest.ts';
import { loadBatch, type BatchOptions, type BatchRecord } from '../batch/batch.ts';
import { findBatch } from '../batch/find.ts';
import type { InputFile } from '../batch/input.ts';
import { openBatchInput, reopenBatchInput } from '../batch/render.ts';
import type { Config } from '../config.ts';
import { nanoUsdPerUsd } from '../config.ts';
import { AppError } from '../errors.ts';
import { createKeyring, requireKeys, type Keyring } from '../keys/keyring.ts';
import { registerKeys, reopenKeys } from '../keys/standing.ts';
import { createLedgerDrain } from '../ledger/drain.ts';
import { openSqliteLedger } from '../ledger/sqlite.ts';
import { checkProviders } from '../../workers/providers.ts';
import { autoConcurrency } from '../../workers/process.ts';
import { runBatch } from '../../workers/run.ts';
import { continueBatch, setUpBatch } from '../batch/setup.ts';
import { createInterrupts } from './interrupts.ts';
import { watchKeys } from './key-reload.ts';
import type { Globals } from './main.ts';
import { createProgressView } from './progress-view.ts';
import { inspectFor } from './offers.ts';
import { configOf, openSession, type Session } from './session.ts';
import { startSimulation } from './simulation.ts';
import { addRowsOptions, rowsOptionsOf, type RowsFlags } from './rows-options.ts';
import { reportRun } from './run-report.ts';
import { say } from './screen.ts';

type RunOptions = Globals &
  RowsFlags & {
    out?: string;
    name?: string;
    budget?: number;
    concurrency: number | 'auto';
    attempts?: number;
    stream?: boolean;
    dropUnsupported?: boolean;
    ordered?: boolean;
    csv?: boolean;
    skipInvalid?: boolean;
    pinModels?: boolean;
    worker: boolean;
    simulate?: boolean;
    json?: boolean;
  };

const runExamples = `
Examples:
  $ nightshift run prompts.jsonl                 the results go beside the input
  $ nightshift run prompts.jsonl --out results --budget 20
  $ cat prompts.jsonl | nightshift run - --name tonight
  $ nightshift run reviews.csv --csv --model fast --template 'About: {{text}}'
  $ nightshift run prompts.jsonl --simulate      a rehearsal: no key, no cost

The same command again goes on where it stopped.

Exit codes:
  0  all lines completed             3    stopped by a budget
  1  finished, some lines failed     4    stopped by credentials
  2  usage, configuration or input   5    stopped by provider, Redis or disk
                                     130  interrupted`;

const resumeExamples = `
Examples:
  $ nightshift resume                        the batch that stopped last
  $ nightshift resume prompts --budget 50

Exit codes are those of nightshift run.`;

export function registerRun(program: Command): void {
  const definition = program
    .command('run')
    .description('Runs a file of prompts and writes every answer once.')
    .argument('<input>', 'JSONL file, or CSV with --template, also gzipped; - reads standard input')
    .option('--out <dir>', 'where the results go (default: beside the input)')
    .option('--name <name>', 'name of the batch and its files (default: the input\u2019s)')
    .option('--model <model>', 'model of the lines that name none');
  addRowsOptions(definition)
    .option('--budget <usd>', 'stop before the batch costs more than this', parseUsd)
    .option('--concurrency <n>', 'calls at once, or auto', parseConcurrency, 'auto')
    .option('--attempts <n>', 'calls per line before it fails', parseCount)
    .option('--stream', 'ask for streamed answers; the results are the same')
    .option('--ordered', 'output file in input order')
    .option('--csv', 'at the end also a table: the rows and their answers')
    .option('--skip-invalid', 'send the good lines; the others go to the error file')
    .option('--drop-unsupported', 'leave out parameters that a model does not take, instead of failing the line')
    .option('--pin-models', 'resolve each alias once and keep it for the whole batch')
    .option('--no-worker', 'send nothing from here; nightshift worker does')
    .option('--simulate', 'against a built-in simulator instead of a provider')
    .option('--json', 'one object on stdout at the end')
    .addHelpText('after', runExamples)
    .action(async (source: string, _: unknown, command: Command) => {
      process.exitCode = await run(source, command.optsWithGlobals<RunOptions>());
    });

  program
    .command('resume')
    .description('Goes on with a batch that stopped.')
    .argument('[batch]', 'its name or id (default: the one that stopped last)')
    .option('--budget <usd>', 'a new budget for the whole batch', parseUsd)
    .option('--concurrency <n>', 'calls at once, or auto', parseConcurrency, 'auto')
    .option('--no-worker', 'send nothing from here; nightshift worker does')
    .option('--json', 'one object on stdout at the end')
    .addHelpText('after', resumeExamples)
    .action(async (batch: string | undefined, _: unknown, command: Command) => {
      process.exitCode = await resume(batch, command.optsWithGlobals<RunOptions>());
    });
}

async function run(source: string, options: RunOptions): Promise<number> {
  await using simulation = options.simulate ? await startSimulation(options) : null;
  const config = simulation?.config ?? configOf(options, { secrets: true });
  const keyring = createKeyring(config);
  requireKeys(keyring);
  const spoolDir = path.join(config.dataDir, 'spool');
  const input = await openBatchInput(source, {
    spoolDir,
    rows: rowsOptionsOf(options),
    keepRows: options.csv ?? false,
  });
  await using session = await openSession(options, config);
  const { redis, names } = session;
  const store = openSqliteLedger(path.join(config.dataDir, 'ledger.db'));
  try {
    const beside = source === '-' ? process.cwd() : path.dirname(path.resolve(source));
    const batch = await setUpBatch({
      redis: redis.client,
      names,
      keyring,
      store,
      input,
      name: options.name ?? input.name,
      outDir: path.resolve(options.out ?? (options.simulate ? path.join(beside, 'simulated') : beside)),
      spoolDir,
      options: batchOptions(options, config, input),
      budgetNanoUsd: options.budget ?? null,
      inspect: () => inspectFor(session, keyring, { dropUnsupported: options.dropUnsupported ?? false }),
      beforeNew: (models) => refuseUnknownModels(session, keyring, models, options.skipInvalid ?? false),
      say,
    });
    return await goOn({ session, keyring, store, input, batch, options });
  } finally {
    await store.close();
  }
}

async function resume(nameOrId: string | undefined, options: RunOptions): Promise<number> {
  const config = configOf(options, { secrets: true });
  const keyring = createKeyring(config);
  requireKeys(keyring);
  await using session = await openSession(options, config);
  const batch = await findBatch(session.redis.client, session.names, nameOrId ?? null);
  const input = await reopenBatchInput(batch, path.join(config.dataDir, 'spool'));
  if (input.rendered) say(`The requests are those made of ${input.source} when the batch began.`);
  const store = openSqliteLedger(path.join(config.dataDir, 'ledger.db'));
  try {
    const sameName = { name: batch.name, outDir: path.dirname(batch.manifestFile) };
    const known = await setUpBatch({
      redis: session.redis.client,
      names: session.names,
      keyring,
      store,
      input,
      ...sameName,
      spoolDir: path.join(config.dataDir, 'spool'),
      options: batch.options,
      budgetNanoUsd: options.budget ?? null,
      inspect: () => inspectFor(session, keyring, batch.options),
      beforeNew: (models) => refuseUnknownModels(session, keyring, models, batch.options.skipInvalid),
      say,
    });
    return await goOn({ session, keyring, store, input, batch: known, options });
  } finally {
    await store.close();
  }
}

type GoOn = {
  session: Session;
  keyring: Keyring;
  store: ReturnType<typeof openSqliteLedger>;
  input: InputFile;
  batch: BatchRecord;
  options: RunOptions;
};

/** Runs a batch that is set up, shows its progress, reports its end, and returns the exit code. */
async function goOn({ session, keyring, store, input, batch, options }: GoOn): Promise<number> {
  const { config, redis, names, log } = session;
  const json = options.json ?? false;
  const simulated = options.simulate ?? false;
  if (batch.status === 'completed') {
    const lacksTable = batch.options.csv && !existsSync(answersFileOf(batch));
    if (lacksTable) await writeAnswersCsv(batch, config.prices);
    // What a full disk kept out of the ledger at the end is still in Redis.
    await createLedgerDrain({ redis: redis.client, names, batchId: batch.batchId, store, log }).flush();
    const ledger = await store.batchSummary(batch.batchId);
    // And what a crash kept out of the manifest.
    await writeManifest(batch, ledger);
    say(`${batch.name} is completed already; nothing was sent.`);
    return reportRun({ record: batch, ledger }, { json, simulated });
  }
  const prepare = async () => {
    await continueBatch({ redis: redis.client, names, budgetNanoUsd: options.budget ?? null }, batch);
    const reopened = await reopenKeys(redis.client, names, keyring.keys);
    if (reopened.length > 0) say(`Trying again keys that were retired: ${reopened.join(', ')}.`);
    const done = batch.counts.completed + batch.counts.failed;
    if (done > 0) say(`Going on with ${batch.name}: ${done} of ${batch.total} lines are done.`);
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
      onProgress: view.show,
    });
    view.end();
    return reportRun(result, { json, simulated });
  } catch (error) {
    view.end();
    if (!(error instanceof AppError) || error.code !== 'interrupted') throw error;
    const record = (await loadBatch(redis.client, names, batch.batchId)) ?? batch;
    const ledger = await store.batchSummary(batch.batchId);
    return reportRun({ record, ledger }, { json, simulated, interrupted: true });
  } finally {
    interrupts.close();
  }
}

async function refuseUnknownModels(session: Session, keyring: Keyring, models: Iterable<string>, skip: boolean) {
  const { config, redis, names, log } = session;
  const { unknownModels } = await checkProviders({ config, keyring, redis: redis.client, names, log, models });
  if (unknownModels.length === 0 || skip) return;
  const lines = unknownModels.map(({ model, nearest }) => `  "${model}"; the nearest names: ${nearest.join(', ')}`);
  throw new AppError(
    'input',
    `no key offers these models; nothing was sent:\n${lines.join('\n')}\n` +
      'Mend the lines, or send the others with --skip-invalid',
  );
}

function batchOptions(options: RunOptions, config: Config, input: InputFile): BatchOptions {
  return {
    model: options.model ?? null,
    attempts: options.attempts ?? config.attempts,
    deadlineMs: config.deadlineMs,
    skipInvalid: options.skipInvalid ?? false,
    pinModels: options.pinModels ?? false,
    stream: options.stream ?? false,
    dropUnsupported: options.dropUnsupported ?? false,
    ordered: options.ordered ?? false,
    csv: options.csv ?? false,
    rows: input.rendered?.kept ?? null,
  };
}

/** Nano USD. */
function parseUsd(text: string): number {
  const usd = Number(text);
  if (!Number.isFinite(usd) || usd <= 0) throw new InvalidArgumentError('expected dollars, such as 20 or 0.5');
  return Math.round(usd * nanoUsdPerUsd);
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('expected a whole number of at least 1');
  return count;
}

function parseConcurrency(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : parseCount(text);
}
