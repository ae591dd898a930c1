/**
 * The error file of a finished batch while a retry takes its place: the old one is kept aside until the retry has ended,
 * so that a crash in the retry's beginning loses nothing.
 */
import assert from 'node:assert/strict';
import { copyFile, link, open, rename, rm, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import { systemErrorCode } from '../errors.ts';
import { isFinished, type BatchRecord } from './batch.ts';
import { diskError } from './result-file.ts';

/** After a crash in the beginning of a retry: everything is as the finished batch had it. */
export async function restoreErrors(batch: BatchRecord): Promise<void> {
  assert.ok(isFinished(batch));
  const aside = asideOf(batch.errorFile);
  if ((await sizeOf(aside)) === null) return;
  try {
    await rm(newErrorsOf(batch.errorFile), { force: true });
    // A retry that came to its end, but for this.
    if ((await sizeOf(batch.errorFile)) === batch.collected.errorBytes) return await rm(aside, { force: true });
    await rename(aside, batch.errorFile);
    // A Redis that lost its last second does not know what was written since.
    if (((await sizeOf(batch.outputFile)) ?? 0) > batch.collected.outputBytes) {
      await truncate(batch.outputFile, batch.collected.outputBytes);
    }
  } catch (error) {
    throw diskError(batch.errorFile, error);
  }
}

/** A retry has come to its end. */
export async function forgetErrorsBefore({ errorFile }: Pick<BatchRecord, 'errorFile'>): Promise<void> {
  await rm(asideOf(errorFile), { force: true });
}

function asideOf(errorFile: string): string {
  return path.join(path.dirname(errorFile), `.${path.basename(errorFile)}.before-retry`);
}

/** The new error file, in the making. */
export function newErrorsOf(errorFile: string): string {
  return path.join(path.dirname(errorFile), `.${path.basename(errorFile)}.retry`);
}

export async function keepAside(errorFile: string): Promise<void> {
  const aside = asideOf(errorFile);
  await link(errorFile, aside).catch(async () => {
    // A file system without links. Under its name only when it is whole.
    await copyFile(errorFile, `${aside}.tmp`);
    await sync(`${aside}.tmp`, 'r+');
    await rename(`${aside}.tmp`, aside);
  });
}

/** How file systems say that a directory cannot be synced, or this user's rights that it cannot be opened. */
const withoutDirectorySync = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EISDIR', 'EPERM', 'EACCES']);

/** What was renamed there is so after a power cut as well, where the file system can promise that. */
export async function syncDirectoryOf(file: string): Promise<void> {
  await sync(path.dirname(file), 'r').catch((error: unknown) => {
    if (!withoutDirectorySync.has(systemErrorCode(error) ?? '')) throw error;
  });
}

async function sync(file: string, flags: string): Promise<void> {
  await using handle = await open(file, flags);
  await handle.sync();
}

export async function sizeOf(file: string): Promise<number | null> {
  return (await stat(file).catch(() => null))?.size ?? null;
}
