/**
 * Ctrl-C in a run. Until the run has touched its batch, nothing changes; from then on the batch is paused, for workers
 * elsewhere as well, until somebody goes on with it. Calls in flight are for whoever stops the worker.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pauseBatch } from '../src/batch/batch.ts';
import { AppError } from '../src/errors.ts';
import type { Redis } from '../src/redis/client.ts';
import type { Names } from '../src/redis/names.ts';

/** A Redis that is away is not waited for. */
const redisPatienceMs = 3000;

export function interruption(): AppError {
  return new AppError('interrupted', 'interrupted');
}

export function isInterruption(error: unknown): boolean {
  return error instanceof AppError && error.code === 'interrupted';
}

/** Never rejects. */
export async function pauseInterrupted(redis: Redis, names: Names, batchId: string): Promise<AppError> {
  const stop = { code: 'interrupted', cause: 'interrupted' } as const;
  const tooLong = sleep(redisPatienceMs, undefined, { ref: false });
  await Promise.race([pauseBatch(redis, names, batchId, stop), tooLong]).catch(() => {});
  return interruption();
}

/**
 * Pauses at the moment of the signal, not when `work` has ended: a worker that takes seconds to start then finds a batch
 * that grants nothing. Errors: `interrupted`, before `work` or after it; those of `work`.
 */
export async function unlessInterrupted(
  interrupted: AbortSignal,
  pause: () => Promise<AppError>,
  work: () => Promise<void>,
): Promise<void> {
  if (interrupted.aborted) throw await pause();
  const { promise: paused, resolve } = Promise.withResolvers<AppError>();
  const onAbort = () => resolve(pause());
  interrupted.addEventListener('abort', onAbort, { once: true });
  try {
    await work();
  } finally {
    interrupted.removeEventListener('abort', onAbort);
  }
  if (interrupted.aborted) throw await paused;
}
