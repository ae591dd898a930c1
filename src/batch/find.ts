/** Finding a batch as a person names it: by name, by id or the start of one, or just "the last one". */
import type { Redis } from '../redis/client.ts';
import { AppError } from '../errors.ts';
import type { Names } from '../redis/names.ts';
import { isFinished, loadBatch, type BatchRecord } from './batch.ts';
import { isHeld } from './lease.ts';

/** Newest first. */
export async function listBatches(redis: Redis, names: Names): Promise<BatchRecord[]> {
  const ids = await redis.smembers(names.batches);
  const records = await Promise.all(ids.map((batchId) => loadBatch(redis, names, batchId)));
  return records.filter((record) => record !== null).toSorted((a, b) => b.createdAtMs - a.createdAtMs);
}

/** Null: the newest unfinished one that no process runs. Errors: `usage` when there is none, or more than one of that name. */
export async function findBatch(redis: Redis, names: Names, nameOrId: string | null): Promise<BatchRecord> {
  const all = await listBatches(redis, names);
  if (nameOrId === null) {
    const cure = 'begin one with: nightshift run <input>';
    const unfinished = all.filter((batch) => !isFinished(batch));
    for (const batch of unfinished) if (!(await isHeld(redis, names, batch.batchId))) return batch;
    // Whoever goes on with it is told that it runs already.
    if (unfinished[0]) return unfinished[0];
    throw new AppError(
      'usage',
      all.length === 0 ? `there is no batch yet; ${cure}` : `every batch is finished; ${cure}`,
    );
  }
  const byName = all.filter(({ name }) => name === nameOrId);
  const found = byName.length > 0 ? byName : all.filter(({ batchId }) => isStartOf(batchId, nameOrId));
  const [first, ...others] = found;
  if (!first) {
    const known = all.slice(0, 5).map(({ name }) => name);
    throw new AppError(
      'usage',
      `no batch "${nameOrId}"${known.length > 0 ? `; the latest: ${known.join(', ')}` : ', nor any other'}`,
    );
  }
  if (others.length > 0) {
    const lines = found.map(({ batchId, manifestFile }) => `  ${batchId}  ${manifestFile}`);
    throw new AppError('usage', `several batches match "${nameOrId}"; name one by its id:\n${lines.join('\n')}`);
  }
  return first;
}

/** What all ids begin with names none of them. */
function isStartOf(batchId: string, text: string): boolean {
  return text.length > 'batch_'.length && batchId.startsWith(text);
}
