/**
 * A finished batch that is asked for again: its record as it is now, and what a crash left half done put right. By the
 * holder of the lease alone, since a retry may begin at the same moment.
 */
import { AppError } from '../errors.ts';
import type { Redis } from '../redis/client.ts';
import type { Names } from '../redis/names.ts';
import { isFinished, loadBatch, type BatchRecord } from './batch.ts';
import { restoreErrors } from './errors-aside.ts';
import { takeLeaseUnlessHeld } from './lease.ts';

export type Finished = AsyncDisposable & {
  batch: BatchRecord;
  /** False: another process holds it, and nothing of it may be written. */
  isOurs: boolean;
};

/** Errors: `usage` when it is no longer finished; `disk`. */
export async function takeFinished(
  redis: Redis,
  names: Names,
  { batchId, name }: Pick<BatchRecord, 'batchId' | 'name'>,
): Promise<Finished> {
  const lease = await takeLeaseUnlessHeld(redis, names, batchId);
  try {
    const batch = await loadBatch(redis, names, batchId);
    if (!batch || !isFinished(batch)) {
      throw new AppError('usage', `${name} has just been begun once more; see it with: nightshift status`);
    }
    if (lease) await restoreErrors(batch);
    return { batch, isOurs: lease !== null, [Symbol.asyncDispose]: async () => lease?.release() };
  } catch (error) {
    await lease?.release();
    throw error;
  }
}
