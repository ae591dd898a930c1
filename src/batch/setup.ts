/**
 * From an input file to a batch that may run: a new one, validated before the first cent, or the one that the same
 * command began earlier. The manifest beside the results tells which.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import path from 'node:path';
import type { Redis } from '../redis/client.ts';
import {
  createBatch,
  isFinished,
  loadBatch,
  moveBatch,
  newBatchId,
  setBudget,
  type BatchRecord,
  type NewBatch,
} from './batch.ts';
import type { InputFile } from './input.ts';
import type { Inspect } from './inspect.ts';
import { describeKept } from './kept-options.ts';
import { answersFileOf } from './answers-csv.ts';
import { endDuplicates } from './end-duplicates.ts';
import { takeLease } from './lease.ts';
import { claimManifest, readManifest, writeManifest, type ManifestAnchor } from './manifest.ts';
import { describeProblems } from './render.ts';
import { sha256OfFile, statMark } from './fingerprint.ts';
import { validateInput, type Validation } from './validate.ts';
import { AppError, messageOf } from '../errors.ts';
import { fileInPlaceOf, makeDirectory } from '../make-directory.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { LedgerStore } from '../ledger/store.ts';
import type { Names } from '../redis/names.ts';

export type SetupOptions = {
  redis: Redis;
  names: Names;
  keyring: Keyring;
  store: LedgerStore;
  input: InputFile;
  name: string;
  outDir: string;
  spoolDir: string;
  options: NewBatch['options'];
  budgetNanoUsd: number | null;
  /** For a new batch: what else makes a line invalid. */
  inspect?: () => Promise<Inspect>;
  /** Called with the requested models before a new batch is made. Throws when none is to be made. */
  beforeNew: (models: Iterable<string>) => Promise<void>;
  say: (text: string) => void;
};

/** The batch, ready to run or completed already. Errors: `input` with place and cure. */
export async function setUpBatch(setup: SetupOptions): Promise<BatchRecord> {
  const files = filesOf(setup.outDir, setup.name);
  refuseOutDir(setup.outDir);
  const manifest = await readManifest(files.manifestFile);
  const known = manifest && (await loadBatch(setup.redis, setup.names, manifest.batchId));
  if (manifest && !known) {
    if (isFinished(manifest)) return refuseFinishedElsewhere(files.manifestFile, manifest);
    throw new AppError('input', lostBatch(files.manifestFile, manifest.batchId));
  }
  if (known && known.status !== 'validating') {
    await assertSameInput(setup, known);
    if (isFinished(known)) assertResultsThere(known);
    const kept = describeKept(known.options, setup.options);
    if (kept) setup.say(`${known.name} stays as it was begun: ${kept}.`);
    return setup.options.csv && !known.options.csv ? beginCsv(setup, known) : known;
  }
  if (!known) refuseToOverwrite([files.outputFile, files.errorFile, ...csvFiles(setup)]);
  return createNew(setup, files, known?.batchId ?? null);
}

/**
 * Makes a stopped batch run again. `deadlineMs` counts from now: a pause lasts until a person or a new month ends it,
 * and lines should not fail for that. A provider that the command has no key of any more is not waited for. A person's
 * word opens retired keys, so that is for the caller.
 */
export async function continueBatch(
  of: Pick<SetupOptions, 'redis' | 'names' | 'budgetNanoUsd' | 'keyring'> & { deadlineMs: number },
  { batchId }: Pick<BatchRecord, 'batchId'>,
) {
  const { redis, names, budgetNanoUsd, keyring, deadlineMs } = of;
  if (budgetNanoUsd !== null) await setBudget(redis, names, batchId, budgetNanoUsd);
  const batch = await loadBatch(redis, names, batchId);
  if (batch?.status !== 'paused' && batch?.status !== 'in_progress') return;
  // Kept as counted from its creation. Before it runs: a worker would end its lines by the old one.
  const options = {
    ...batch.options,
    deadlineMs: Date.now() - batch.createdAtMs + deadlineMs,
    providers: batch.options.providers.filter((name) => keyring.keys.some(({ provider }) => provider.name === name)),
  };
  await redis.hset(names.batch(batchId), { options: JSON.stringify(options) });
  await moveBatch(redis, names, batchId, { from: ['paused'], to: 'in_progress', stop: null });
}

function filesOf(outDir: string, name: string) {
  const file = (suffix: string) => path.join(outDir, `${name}.${suffix}`);
  return { outputFile: file('output.jsonl'), errorFile: file('errors.jsonl'), manifestFile: file('manifest.json') };
}

async function createNew(
  setup: SetupOptions,
  files: ReturnType<typeof filesOf>,
  begunId: string | null,
): Promise<BatchRecord> {
  const { redis, names, input, options, spoolDir } = setup;
  const inspect = await setup.inspect?.();
  const validation = await validateInput(input, { spoolDir, defaults: { model: options.model }, inspect });
  if (validation.invalid > 0 && !options.skipInvalid) throw await invalidInput(input, validation);
  await setup.beforeNew(validation.models.keys());
  makeOutDir(setup.outDir);
  const batchId = begunId ?? newBatchId();
  // The same command may have been typed twice: one of them sets the batch up.
  const lease = await takeLease(redis, names, batchId);
  try {
    const begun = begunId === null ? null : await loadBatch(redis, names, begunId);
    if (begun && begun.status !== 'validating') return begun;
    await createBatch(redis, names, batchId, {
      ...files,
      inputFile: input.path,
      inputSha256: validation.sha256,
      inputMark: statMark(input),
      name: setup.name,
      total: validation.total,
      ledgerId: setup.store.id,
      options: { ...options, providers: [...new Set(setup.keyring.keys.map(({ provider }) => provider.name))] },
      budgetNanoUsd: setup.budgetNanoUsd,
    });
    const record = await loadBatch(redis, names, batchId);
    if (!record) throw new AppError('redis', `${batchId} is gone right after it was written: does this Redis evict?`);
    const ledger = await setup.store.batchSummary(batchId);
    if (begun) await writeManifest(record, ledger);
    else if (!(await claimManifest(record, ledger))) {
      await redis.multi().del(names.batch(batchId)).srem(names.batches, batchId).exec();
      throw new AppError('usage', begunElsewhere(files.manifestFile));
    }
    await endDuplicates(setup, record, validation);
    await moveBatch(redis, names, batchId, { from: ['validating'], to: 'in_progress' });
    return { ...record, status: 'in_progress' };
  } finally {
    await lease.release();
  }
}

/** Errors: `input`, when it is not the content that the batch was begun with. */
export async function assertSameInput(
  { input, name }: Pick<SetupOptions, 'input' | 'name'>,
  batch: BatchRecord,
): Promise<void> {
  if (statMark(input) === batch.inputMark) return;
  if ((await sha256OfFile(input.path)) === batch.inputSha256) return;
  throw new AppError(
    'input',
    `${input.source} is not the file that batch "${name}" was begun with (its content${input.rendered ? ', the template or one of its options' : ''} changed). ` +
      `Put the old content back to go on, or start anew with another --name or --out, or by moving ` +
      `${path.basename(batch.manifestFile)} and its output files away`,
  );
}

async function invalidInput(input: InputFile, validation: Validation): Promise<AppError> {
  const lines = (await describeProblems(input, validation.problems)).map((line) => `  ${line}`);
  const more = validation.invalid - validation.problems.length;
  if (more > 0) lines.push(`  … and ${more} more`);
  return new AppError(
    'input',
    `${validation.invalid} of ${validation.total} lines are invalid; nothing was sent:\n${lines.join('\n')}\n` +
      'Mend them, or send the good ones with --skip-invalid (the others go to the error file)',
  );
}

/** The batch was begun without --csv, and now there shall be a table after all. */
async function beginCsv({ redis, names }: SetupOptions, batch: BatchRecord): Promise<BatchRecord> {
  refuseToOverwrite([answersFileOf(batch)]);
  return askForCsv(redis, names, batch);
}

export async function askForCsv(redis: Redis, names: Names, batch: BatchRecord): Promise<BatchRecord> {
  const options = { ...batch.options, csv: true };
  await redis.hset(names.batch(batch.batchId), { options: JSON.stringify(options) });
  return { ...batch, options };
}

function csvFiles({ outDir, name, options }: SetupOptions): string[] {
  return options.csv ? [answersFileOf({ name, outputFile: filesOf(outDir, name).outputFile })] : [];
}

function refuseToOverwrite(files: string[]): void {
  for (const file of files) {
    if (!existsSync(file)) continue;
    throw new AppError(
      'input',
      `${file} exists, but no batch that wrote it is known here: move it away, or choose another --name or --out`,
    );
  }
}

function begunElsewhere(manifestFile: string): string {
  return (
    `another command has just begun a batch at ${manifestFile}; see it with: nightshift status. ` +
    'For another batch, choose another --name or --out'
  );
}

/** Nobody should learn later that "completed" names a file that is not there. */
function assertResultsThere({ name, status, outputFile, errorFile, manifestFile }: BatchRecord): void {
  const missing = [outputFile, errorFile].find((file) => !existsSync(file));
  if (missing === undefined) return;
  throw new AppError(
    'input',
    `${missing} is gone, a result of batch "${name}", which is ${status}. Put it back; or, to run the input again, ` +
      `choose another --name or --out, or move ${manifestFile} and its files away`,
  );
}

function refuseFinishedElsewhere(manifestFile: string, { batchId, status }: ManifestAnchor): never {
  throw new AppError(
    'input',
    `${manifestFile} says that ${batchId} is ${status}, but this Redis does not know it. ` +
      'To run the input again, choose another --name or --out, or move the manifest and its files away',
  );
}

function lostBatch(manifestFile: string, batchId: string): string {
  return (
    `${manifestFile} belongs to ${batchId}, which this Redis does not know. Use the Redis or the data directory ` +
    '(--redis, --data) that it was begun with; or, to start anew, move the manifest and its files away'
  );
}

/** Before anything is read from there: a file in its place, or above it. */
function refuseOutDir(dir: string): void {
  const file = fileInPlaceOf(dir);
  if (file === null) return;
  const cure = 'which is made when it is missing; choose another with --out';
  throw new AppError('usage', `${file} is a file; expected a directory for the results, ${cure}`);
}

/** And before the first cent: one that cannot be written to. */
function makeOutDir(dir: string): void {
  try {
    makeDirectory(dir);
    accessSync(dir, constants.W_OK | constants.X_OK);
  } catch (cause) {
    const why = `cannot write the results to the directory ${dir}: ${messageOf(cause)}`;
    throw new AppError('disk', `${why}; give this user access to it, or choose another with --out`, { cause });
  }
}
