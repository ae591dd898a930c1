/** `nightshift run` and `nightshift resume`: a file of prompts in, a file of answers out. */
import path from 'node:path';
import { Option, type Command } from 'commander';
import { priorities, type NewBatch, type Priority } from '../batch/batch.ts';
import { findBatch } from '../batch/find.ts';
import type { InputFile } from '../batch/input.ts';
import { openBatchInput, reopenBatchInput } from '../batch/render.ts';
import type { Config } from '../config.ts';
import { createKeyring, requireKeys } from '../keys/keyring.ts';
import { openSqliteLedger } from '../ledger/sqlite.ts';
import { refuseUnknownModels } from '../../workers/providers.ts';
import { setUpBatch } from '../batch/setup.ts';
import { nameOfBatch, parseName, parseDirectory } from './batch-files.ts';
import { goOn } from './go-on.ts';
import type { Globals } from './main.ts';
import { parseConcurrency, parseCount, parseUsd } from './numbers.ts';
import { inspectFor } from './offers.ts';
import { configOf, openSession } from './session.ts';
import { startSimulation } from './simulation.ts';
import { addRowsOptions, rowsOptionsOf, type RowsFlags } from './rows-options.ts';
import { say } from './screen.ts';

type RunOptions = Globals &
  RowsFlags & {
    out?: string;
    name?: string;
    budget?: number;
    concurrency: number | 'auto';
    attempts?: number;
    priority: Priority;
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
  $ nightshift resume                        the newest unfinished batch
  $ nightshift resume prompts --budget 50

Exit codes are those of nightshift run.`;

export function registerRun(program: Command): void {
  const definition = program
    .command('run')
    .description('Runs a file of prompts and writes every answer once.')
    .argument('<input>', 'JSONL file, or CSV with --template, also gzipped; - reads standard input')
    .option('--out <dir>', 'where the results go (default: beside the input)', parseDirectory)
    .option('--name <name>', 'name of the batch and its files (default: the input\u2019s)', parseName)
    .option('--model <model>', 'model of the lines that name none');
  addRowsOptions(definition)
    .option('--budget <usd>', 'stop before the batch costs more than this', parseUsd)
    .option('--concurrency <n>', 'calls at once, or auto', parseConcurrency, 'auto')
    .option('--attempts <n>', 'calls per line before it fails', parseCount)
    .addOption(
      new Option('--priority <priority>', 'high: before all other batches; low: only when no other waits')
        .choices(priorities)
        .default('normal'),
    )
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
    .argument('[batch]', 'its name or id (default: the newest unfinished one)')
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
  const budgetNanoUsd = options.budget ?? null;
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
      name: nameOfBatch(options.name, input),
      outDir: path.resolve(options.out ?? (options.simulate ? path.join(beside, 'simulated') : beside)),
      spoolDir,
      options: batchOptions(options, config, input),
      budgetNanoUsd,
      inspect: () => inspectFor(session, keyring, { dropUnsupported: options.dropUnsupported ?? false }),
      beforeNew: (models) =>
        refuseUnknownModels(
          { ...session, redis: redis.client, keyring, budgetNanoUsd },
          models,
          options.skipInvalid ?? false,
        ),
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
  const budgetNanoUsd = options.budget ?? null;
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
      budgetNanoUsd,
      inspect: () => inspectFor(session, keyring, batch.options),
      beforeNew: (models) =>
        refuseUnknownModels(
          { ...session, redis: session.redis.client, keyring, budgetNanoUsd },
          models,
          batch.options.skipInvalid,
        ),
      say,
    });
    return await goOn({ session, keyring, store, input, batch: known, options });
  } finally {
    await store.close();
  }
}

function batchOptions(options: RunOptions, config: Config, input: InputFile): NewBatch['options'] {
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
    priority: options.priority,
    rows: input.rendered?.kept ?? null,
  };
}
