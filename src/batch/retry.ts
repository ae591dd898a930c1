/**
 * The failed lines of a finished batch, once more: the batch is put back to where only they are missing, and runs on as
 * any other that stopped. The output file says which lines are complete, so the done bits are made anew from it (they
 * have expired by then, perhaps). Lines that no provider would take (`invalid_request:…`) stay failed.
 *
 *   errors without what is tried again ─► manifest ─► old errors kept aside ─► new errors in place ─► Redis, in one step
 *
 * Until that last step the batch is finished, and whoever finds the old error file aside puts it back. From then on
 * Redis has the word, as in any run: lines without a bit are sent. At the end the old error file is forgotten.
 */
import { open, rename, rm } from 'node:fs/promises';
import { AppError } from '../errors.ts';
import type { LedgerStore } from '../ledger/store.ts';
import { parseJson } from '../provider/answer.ts';
import type { Redis } from '../redis/client.ts';
import type { Names } from '../redis/names.ts';
import { isFinished, loadBatch, type BatchOptions, type BatchRecord } from './batch.ts';
import { keepAside, newErrorsOf, restoreErrors, sizeOf, syncDirectoryOf } from './errors-aside.ts';
import { LineBits } from './line-bits.ts';
import { eachLine, readChunks } from './lines.ts';
import { writeManifest } from './manifest.ts';
import { diskError } from './result-file.ts';

export type Retry = {
  redis: Redis;
  names: Names;
  store: Pick<LedgerStore, 'batchSummary'>;
  attempts: number | null;
  /** From now on. */
  deadlineMs: number;
};

/**
 * For the holder of the batch's lease. Does nothing when a retry is under way already. Errors: `usage` when nothing can
 * be tried again; `input`, `disk`.
 */
export async function beginRetry(retry: Retry, batchId: string, say: (text: string) => void): Promise<void> {
  const batch = await loadBatch(retry.redis, retry.names, batchId);
  if (!batch || !isFinished(batch)) return;
  await restoreErrors(batch);
  await assertAsWritten(batch);
  const done = new LineBits();
  let completed = 0;
  await eachResult(batch.outputFile, (line) => {
    done.add(line);
    completed += 1;
    return nothing;
  });
  const kept = await keepInvalid(batch, done);
  if (completed + kept.failed >= batch.total) {
    await rm(kept.file, { force: true });
    throw nothingToRetry(batch);
  }
  const { outputBytes } = batch.collected;
  const lines = completed + kept.failed;
  const begun: BatchRecord = {
    ...batch,
    status: 'in_progress',
    stop: null,
    options: optionsFor(retry, batch),
    counts: { completed, failed: kept.failed },
    errorCodes: kept.errorCodes,
    collected: { streamId: '0-0', lines, outputBytes, errorBytes: kept.bytes },
    lowWater: { offset: 0, line: 1, requests: 0 },
    retries: batch.retries + 1,
  };
  // First: a manifest that calls the files whole would have the last word over Redis.
  await writeManifest(begun, await retry.store.batchSummary(batch.batchId));
  try {
    await keepAside(batch.errorFile);
    await rename(kept.file, batch.errorFile);
    // Redis may outlive a power cut with the step that follows: these names must, too.
    await syncDirectoryOf(batch.errorFile);
  } catch (error) {
    throw diskError(batch.errorFile, error);
  }
  await writeRecord(retry, batch, begun, done);
  say(`Trying ${batch.total - lines} of ${batch.total} lines of ${batch.name} once more.`);
}

async function assertAsWritten({ outputFile, errorFile, collected }: BatchRecord): Promise<void> {
  for (const [file, bytes] of [
    [outputFile, collected.outputBytes],
    [errorFile, collected.errorBytes],
  ] as const) {
    const size = await sizeOf(file);
    if (size === bytes) continue;
    const found = size === null ? 'it is gone' : `it has ${size}`;
    throw new AppError('input', `expected ${bytes} bytes in ${file}, but ${found}; put it back as it was written`);
  }
}

type Kept = { file: string; failed: number; bytes: number; errorCodes: Record<string, number> };

const bytesPerWrite = 256 * 1024;
const invalid = 'invalid_request:';

/** The error lines that stay, in a file of their own, on disk. */
async function keepInvalid({ errorFile }: BatchRecord, done: LineBits): Promise<Kept> {
  const file = newErrorsOf(errorFile);
  const kept: Kept = { file, failed: 0, bytes: 0, errorCodes: {} };
  try {
    await using to = await open(file, 'w');
    let held = '';
    const flush = async () => {
      if (held !== '') await to.writeFile(held);
      kept.bytes += Buffer.byteLength(held);
      held = '';
    };
    await eachResult(errorFile, async (line, text) => {
      const code = text.includes(invalid) ? codeOf(text) : '';
      if (!code.startsWith(invalid)) return;
      done.add(line);
      kept.failed += 1;
      kept.errorCodes[code] = (kept.errorCodes[code] ?? 0) + 1;
      held += `${text}\n`;
      if (held.length >= bytesPerWrite) await flush();
    });
    await flush();
    await to.sync();
  } catch (error) {
    throw diskError(file, error);
  }
  return kept;
}

function codeOf(text: string): string {
  const json = parseJson(text) as { error?: { code?: unknown } | null } | undefined;
  return typeof json?.error?.code === 'string' ? json.error.code : '';
}

const nothing = Promise.resolve();

/** Every result's id holds its line (result-line.ts). */
const lineOfResult = /^\{"id":"batch_req_[^-"]*-(\d+)/;

async function eachResult(file: string, visit: (line: number, text: string) => Promise<void>): Promise<void> {
  const source = { path: file, source: file, compressed: false };
  for await (const chunk of readChunks(source, { fromOffset: 0, fromLine: 1, maxLines: 1000, maxBytes: 1 << 20 })) {
    const results: [number, string][] = [];
    eachLine(chunk, (text) => results.push([Number(lineOfResult.exec(text)?.[1] ?? 0), text]));
    for (const [line, text] of results) await visit(line, text);
  }
}

function optionsFor({ attempts, deadlineMs }: Retry, { options, createdAtMs }: BatchRecord): BatchOptions {
  // The deadline counts from the batch's creation, which may be days ago.
  return { ...options, attempts: attempts ?? options.attempts, deadlineMs: Date.now() - createdAtMs + deadlineMs };
}

async function writeRecord({ redis, names }: Retry, before: BatchRecord, begun: BatchRecord, done: LineBits) {
  const { batchId, collected, lowWater } = begun;
  const batch = names.batch(batchId);
  const transaction = redis
    .multi()
    .set(names.done(batchId), done.bytes())
    .del(names.attempts(batchId), names.results(batchId), names.held(batchId))
    .hset(batch, {
      status: begun.status,
      stopCode: '',
      stopCause: '',
      options: JSON.stringify(begun.options),
      ...begun.counts,
      collectedId: collected.streamId,
      collectedLines: collected.lines,
      outputBytes: collected.outputBytes,
      errorBytes: collected.errorBytes,
      lowOffset: lowWater.offset,
      lowLine: lowWater.line,
      lowRequests: lowWater.requests,
      retries: begun.retries,
    });
  const stale = Object.keys(before.errorCodes).map((code) => `error:${code}`);
  if (stale.length > 0) transaction.hdel(batch, ...stale);
  const codes = Object.entries(begun.errorCodes).map(([code, count]) => [`error:${code}`, count]);
  if (codes.length > 0) transaction.hset(batch, Object.fromEntries(codes));
  for (const [error] of (await transaction.exec()) ?? []) if (error) throw error;
}

function nothingToRetry({ name, counts }: BatchRecord): AppError {
  const why =
    counts.failed === 0
      ? 'every line is completed'
      : 'its failed lines are invalid, as the error file says; mend them, and run them under another --name';
  return new AppError('usage', `nothing of ${name} can be tried again: ${why}`);
}
