/** How a line leaves its worker without an answer: ended by an error of ours, held, or stopped with its batch. */
import { setTimeout as sleep } from 'node:timers/promises';
import { pauseBatch, type Stop } from '../src/batch/batch.ts';
import { errorLine } from '../src/batch/result-line.ts';
import { lineRef } from '../src/keys/intent.ts';
import type { WorkerContext } from './context.ts';
import type { LineResult, LineRun } from './line.ts';

/** Not finished here and now; to be taken up again by whoever gets its job. */
export const held: LineResult = { tag: 'held', retryAtMs: null };

/** Sleeps, but not through a stop. */
export async function wait(ctx: WorkerContext, ms: number): Promise<LineResult | null> {
  try {
    await sleep(ms, undefined, { signal: ctx.stopping });
    return null;
  } catch {
    return held;
  }
}

export async function pause({ ctx, batch }: LineRun, stop: Stop): Promise<LineResult> {
  if (await pauseBatch(ctx.redis, ctx.names, batch.batchId, stop)) {
    // `info`: whoever runs the batch says it to the person.
    ctx.log.info({ batchId: batch.batchId, stop: stop.code }, `the batch stops: ${stop.cause}`);
  }
  return held;
}

/** Ends a line that no call answered. */
export async function endWithout(
  { ctx, batch, line }: Pick<LineRun, 'ctx' | 'batch' | 'line'>,
  customId: string | null,
  code: string,
  message: string,
): Promise<LineResult> {
  const id = lineRef(batch.batchId, line);
  const text = errorLine(id, customId, { code, message, line }, null, ctx.keyring.redact);
  await ctx.settle({
    batchId: batch.batchId,
    line,
    call: null,
    end: { to: 'error', text, errorCode: code, inputTokens: null, outputTokens: null },
  });
  return { tag: 'ended' };
}

/** A crash is seldom the line's fault: so many calls more than its attempts may end with their worker. */
const crashGrace = 10;

/** A line that takes its workers down with it would otherwise be sent for ever. */
export function hasKilledTooMany({ attemptsSpent, batch }: Pick<LineRun, 'attemptsSpent' | 'batch'>): boolean {
  return attemptsSpent >= batch.options.attempts + crashGrace;
}

export function endKiller(run: LineRun): Promise<LineResult> {
  const message = `its worker died in ${run.attemptsSpent} attempts; they are possibly billed`;
  return endWithout(run, run.request.customId, 'attempts_exhausted', message);
}
