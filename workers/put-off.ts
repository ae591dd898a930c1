/**
 * Lines that a provider wants to see again only after a long while: not before when, kept beside their attempts. So a
 * line keeps to its time though its job comes back sooner, for its other lines' sake, and on whichever machine. The
 * time is Redis': the clock that all workers share.
 */
import { redisTimeMs } from '../src/redis/time.ts';
import type { LineResult, LineRun } from './line.ts';

const fieldOf = (line: number) => `${line}:notBefore`;

/** For a line that is not done: of one that has ended nobody would remove the time. */
export async function putOff({ ctx, batch, line }: LineRun, pauseMs: number): Promise<LineResult> {
  // Nothing waits beyond the batch's deadline: then the line ends by its name.
  const leftMs = batch.createdAtMs + batch.options.deadlineMs - Date.now();
  const forMs = Math.max(0, Math.min(pauseMs, leftMs + 1));
  const notBeforeMs = (await redisTimeMs(ctx.redis)) + Math.ceil(forMs);
  await ctx.redis.hset(ctx.names.attempts(batch.batchId), fieldOf(line), notBeforeMs);
  return { tag: 'held', retryAtMs: Date.now() + forMs };
}

/** Line → how long it is still to be left alone (ms); those whose time has come are not in it, and forgotten. */
export async function readPutOff(
  { redis, names }: LineRun['ctx'],
  batchId: string,
  lines: readonly number[],
): Promise<Map<number, number>> {
  const left = new Map<number, number>();
  const times = await redis.hmget(names.attempts(batchId), ...lines.map(fieldOf));
  if (times.every((time) => time === null)) return left;
  const now = await redisTimeMs(redis);
  const over: string[] = [];
  for (const [index, line] of lines.entries()) {
    const time = times[index] ?? null;
    if (time === null) continue;
    if (Number(time) > now) left.set(line, Number(time) - now);
    else over.push(fieldOf(line));
  }
  if (over.length > 0) await redis.hdel(names.attempts(batchId), ...over);
  return left;
}
