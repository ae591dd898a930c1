/**
 * Reaping: calls whose sender died. Their intents become ledger rows `unknown` ("possibly billed"), their slots'
 * in-flight marks and reservations are released. A sender is dead when it has given no sign of life for a while, by
 * Redis' clock. If it was only asleep, its late settle replaces the row; the done bit keeps the line single.
 */
import type { Redis } from 'ioredis';
import type { Log } from '../log.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';
import { parseIntent, type Intent } from './intent.ts';
import type { Settle } from './settle.ts';

export type Reaping = { redis: Redis; names: Names; settle: Settle; log: Log };

export const heartbeatEveryMs = 2000;
/** Several heartbeats long: a busy second must not look like a death. */
const deadAfterMs = 10_000;

export async function signOfLife({ redis, names }: Pick<Reaping, 'redis' | 'names'>, workerId: string): Promise<void> {
  await redis.zadd(names.workers, await redisTimeMs(redis), workerId);
}

export async function signOff({ redis, names }: Pick<Reaping, 'redis' | 'names'>, workerId: string): Promise<void> {
  await redis.zrem(names.workers, workerId);
}

/** Settles the intents of all dead workers. Returns how many there were. */
export async function reapOnce(reaping: Reaping): Promise<number> {
  const { redis, names } = reaping;
  const now = await redisTimeMs(redis);
  const alive = new Set(await redis.zrangebyscore(names.workers, now - deadAfterMs, '+inf'));
  let reaped = 0;
  let cursor = '0';
  do {
    const [next, fields] = await redis.hscan(names.inflight, cursor, 'COUNT', 500);
    cursor = next;
    for (let index = 0; index + 1 < fields.length; index += 2) {
      const intent = parseIntent(fields[index] as string, fields[index + 1] as string);
      if (alive.has(intent.workerId) || now - intent.sentAtMs < deadAfterMs) continue;
      if (await reapIntent(reaping, intent)) reaped += 1;
    }
  } while (cursor !== '0');
  await redis.zremrangebyscore(names.workers, '-inf', now - 10 * deadAfterMs);
  return reaped;
}

/** One call's answer will not come, as far as anyone can know. Returns false when it was settled meanwhile. */
export async function reapIntent({ redis, names, settle, log }: Reaping, intent: Intent): Promise<boolean> {
  const [keyName, provider] = await redis.hmget(names.key(intent.keyId), 'name', 'provider');
  const { settled } = await settle({
    batchId: intent.batchId,
    line: intent.line,
    call: {
      attemptId: intent.attemptId,
      keyId: intent.keyId,
      bucketId: intent.bucketId,
      act: { kind: 'neutral' },
      fate: 'unknown',
      tokens: null,
      costNanoUsd: null,
      countsAsAttempt: true,
      ledger: {
        attemptId: intent.attemptId,
        batchId: intent.batchId,
        customId: intent.customId,
        line: intent.line,
        provider: provider ?? '',
        keyId: intent.keyId,
        keyName: keyName ?? '',
        requestedModel: intent.requestedModel,
        resolvedModel: intent.model,
        outcome: 'unknown',
        httpStatus: null,
        errorCode: null,
        startedAtMs: intent.sentAtMs,
        durationMs: null,
        inputTokens: null,
        outputTokens: null,
        cachedTokens: null,
        reasoningTokens: null,
        costNanoUsd: null,
        costSource: 'none',
        requestId: null,
      },
    },
    end: null,
  });
  if (settled) {
    log.warn(
      { batchId: intent.batchId, line: intent.line, attemptId: intent.attemptId },
      'no answer seen: possibly billed',
    );
  }
  return settled;
}
