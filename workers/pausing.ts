/**
 * A run that ends before its batch pauses it: workers elsewhere then stop sending what nobody would collect, and whoever
 * asks is told why. The next run goes on by itself. A Redis that cannot be told keeps the batch as it was.
 */
import { pauseBatch, type Stop } from '../src/batch/batch.ts';
import { AppError } from '../src/errors.ts';
import type { Redis } from '../src/redis/client.ts';
import type { Names } from '../src/redis/names.ts';
import { unlessAway } from '../src/redis/unless-away.ts';

/** Never rejects. */
export async function pauseUnlessAway(redis: Redis, names: Names, batchId: string, stop: Stop): Promise<void> {
  await unlessAway(pauseBatch(redis, names, batchId, stop));
}

/** After a failure of the files of this process (a full disk, a directory that is gone); others change nothing. */
export async function pauseForFiles(redis: Redis, names: Names, batchId: string, error: unknown): Promise<void> {
  if (!(error instanceof AppError) || (error.code !== 'disk' && error.code !== 'input')) return;
  await pauseUnlessAway(redis, names, batchId, { code: error.code, cause: error.message });
}
