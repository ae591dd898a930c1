/**
 * Ctrl-C in a run. Until the run has touched its batch, nothing changes; from then on the batch is paused, for workers
 * elsewhere as well, until somebody goes on with it. Calls in flight are for whoever stops the worker.
 */
import { AppError } from '../src/errors.ts';
import type { Redis } from '../src/redis/client.ts';
import type { Names } from '../src/redis/names.ts';
import { pauseUnlessAway } from './pausing.ts';

export function interruption(): AppError {
  return new AppError('interrupted', 'interrupted');
}

export function isInterruption(error: unknown): boolean {
  return error instanceof AppError && error.code === 'interrupted';
}

/** Never rejects. */
export async function pauseInterrupted(redis: Redis, names: Names, batchId: string): Promise<AppError> {
  await pauseUnlessAway(redis, names, batchId, { code: 'interrupted', cause: 'interrupted' });
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
