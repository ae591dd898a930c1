/**
 * The manifest (`<name>.manifest.json`): what became of a batch, for people and programs. It is also the visible
 * anchor of a batch: written before the first line is sent, it tells the next run of the same command what to go on
 * with. Written whole under a name of its own, since a process that lost its lease may still be writing another, and
 * renamed into place.
 */
import { randomBytes } from 'node:crypto';
import { link, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { parseJson } from '../provider/answer.ts';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import type { BatchSummary } from '../ledger/store.ts';
import type { BatchRecord } from './batch.ts';
import { otherLedgers } from './ledgers.ts';
import { diskError } from './result-file.ts';
import { moneyOf } from './spent.ts';

const manifestSchema = z.object({
  batchId: z.string(),
  name: z.string(),
  status: z.string(),
  input: z.object({ file: z.string(), sha256: z.string(), lines: z.number() }),
});
export type ManifestAnchor = z.infer<typeof manifestSchema>;

const wholeSchema = z.object({
  status: z.enum(['finalizing', 'completed', 'cancelling', 'cancelled']),
  input: z.object({ lines: z.number() }),
  counts: z.object({ completed: z.number(), failed: z.number() }),
  // Manifests of earlier versions have no `lines`.
  files: z.object({ lines: z.number().optional(), outputBytes: z.number(), errorBytes: z.number() }),
});
export type WholeFiles = { completed: number; failed: number; outputBytes: number; errorBytes: number };

/**
 * What the files hold, when the manifest says that every line is in them; else null. It is the last word: it was on
 * disk before the files were touched again, while a Redis that lost its last second in a power cut may know less.
 * That every line has ended does not say so: workers may have ended lines that nobody has collected yet.
 */
export async function readWholeFiles(file: string): Promise<WholeFiles | null> {
  const text = await readFile(file, 'utf8').catch(() => '');
  const parsed = wholeSchema.safeParse(parseJson(text));
  if (!parsed.success) return null;
  const { status, counts, input } = parsed.data;
  // Without `lines`: all but `cancelling` are written only once every line is in the files.
  const { lines = status === 'cancelling' ? 0 : input.lines, ...sizes } = parsed.data.files;
  return lines === input.lines && counts.completed + counts.failed === input.lines ? { ...counts, ...sizes } : null;
}

/** What the next run needs to know, or null when there is no manifest. Errors: `input` when the file is none of ours. */
export async function readManifest(file: string): Promise<ManifestAnchor | null> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return null;
    throw new AppError(
      'input',
      `cannot read ${file}: ${messageOf(error)}; give this user access, or choose another --out`,
      {
        cause: error,
      },
    );
  }
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new AppError(
      'input',
      `${file} is no manifest of nightshift; move it away or choose another --name or --out`,
      {
        cause,
      },
    );
  }
}

/**
 * Before anything of a batch is written: its files may have been moved away, and their places be another batch's by now.
 * Errors: `input`, naming that one.
 */
export async function refuseOtherManifest({ batchId, manifestFile }: BatchRecord): Promise<void> {
  const there = await readManifest(manifestFile);
  if (!there || there.batchId === batchId) return;
  throw new AppError(
    'input',
    `${manifestFile} belongs to ${there.batchId}, not to ${batchId}, whose files were moved away: nothing was written. ` +
      'Put those back, and move the others away, to go on with it',
  );
}

/** Replaces the batch's manifest: for whoever holds its lease. Errors: `disk`. */
export async function writeManifest(record: BatchRecord, ledger: BatchSummary): Promise<void> {
  const temporary = temporaryOf(record);
  try {
    await writeWhole(temporary, record, ledger);
    await rename(temporary, record.manifestFile);
  } catch (cause) {
    // A second failure would hide the first.
    await rm(temporary, { force: true }).catch(() => {});
    throw diskError(record.manifestFile, cause);
  }
  await removeLeftBehind(record.manifestFile).catch(() => {});
}

/**
 * Writes a new batch's manifest where there is none. False when another command was quicker: the place, and with it
 * the output files, belong to its batch. Errors: `disk`.
 */
export async function claimManifest(record: BatchRecord, ledger: BatchSummary): Promise<boolean> {
  const temporary = temporaryOf(record);
  try {
    await writeWhole(temporary, record, ledger);
    // Unlike a rename, a link never replaces.
    await link(temporary, record.manifestFile).catch((error: unknown) => {
      if (!withoutLinks.has(systemErrorCode(error) ?? '')) throw error;
      return rename(temporary, record.manifestFile);
    });
    return true;
  } catch (cause) {
    if (systemErrorCode(cause) === 'EEXIST') return false;
    throw diskError(record.manifestFile, cause);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** How file systems say that they have no links. */
const withoutLinks = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** Another with each call: once linked or renamed it is the manifest, and nobody else may write to it. */
function temporaryOf({ manifestFile }: BatchRecord): string {
  const random = randomBytes(6).toString('hex');
  return path.join(path.dirname(manifestFile), `.${path.basename(manifestFile)}.${random}.tmp`);
}

/** No process takes so long to write a manifest: whoever began this one was killed. */
const leftBehindAfterMs = 3_600_000;

/** Those of earlier versions have no random part. */
async function removeLeftBehind(manifestFile: string): Promise<void> {
  const directory = path.dirname(manifestFile);
  const hidden = `.${path.basename(manifestFile)}.`;
  for (const name of await readdir(directory)) {
    if (!name.startsWith(hidden) || !/^(?:[0-9a-f]{12}\.)?tmp$/.test(name.slice(hidden.length))) continue;
    const file = path.join(directory, name);
    if (Date.now() - (await stat(file)).mtimeMs > leftBehindAfterMs) await rm(file, { force: true });
  }
}

async function writeWhole(file: string, record: BatchRecord, ledger: BatchSummary): Promise<void> {
  const handle = await open(file, 'w');
  try {
    await handle.writeFile(`${JSON.stringify(manifestOf(record, ledger), null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function manifestOf(record: BatchRecord, ledger: BatchSummary) {
  const { costNanoUsd, possiblyBilled } = moneyOf(record, ledger);
  const others = otherLedgers(record);
  return {
    batchId: record.batchId,
    name: record.name,
    status: record.status,
    stoppedBy: record.stop,
    input: { file: record.inputFile, sha256: record.inputSha256, lines: record.total },
    counts: { total: record.total, ...record.counts },
    errorCodes: record.errorCodes,
    attempts: { total: ledger.attempts, byOutcome: nonZero(ledger.outcomes), byErrorCode: ledger.errorCodes },
    models: ledger.models,
    keys: ledger.keys.map((key) => ({
      name: key.name,
      keyId: key.keyId,
      provider: key.provider,
      attempts: key.attempts,
      byOutcome: nonZero(key.outcomes),
      inputTokens: key.inputTokens,
      outputTokens: key.outputTokens,
      costUsd: usd(key.costNanoUsd),
    })),
    usage: {
      inputTokens: ledger.inputTokens,
      outputTokens: ledger.outputTokens,
      cachedTokens: ledger.cachedTokens,
      reasoningTokens: ledger.reasoningTokens,
    },
    costUsd: usd(costNanoUsd),
    costUnknown: ledger.costUnknown,
    possiblyBilled,
    // Of all else that is counted in rows, this manifest then has only what this ledger has.
    ...(others.length > 0 && { otherLedgers: others }),
    files: {
      output: record.outputFile,
      errors: record.errorFile,
      lines: record.collected.lines,
      outputBytes: record.collected.outputBytes,
      errorBytes: record.collected.errorBytes,
    },
    createdAt: new Date(record.createdAtMs).toISOString(),
    writtenAt: new Date().toISOString(),
  };
}

/** For reading, not for reckoning: the exact sum is the ledger's. */
export function usd(nanoUsd: bigint | null): number | null {
  return nanoUsd === null ? null : Number(nanoUsd) / 1e9;
}

function nonZero(counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}
