/**
 * Reaping: calls whose sender died. Their intents become ledger rows `unknown` ("possibly billed"), their slots'
 * in-flight marks and reservations are released. Who is dead, workers/roster.ts knows. If a sender was only asleep, its
 * late settle replaces the row; the done bit keeps the line single.
 */
import type { Redis } from '../redis/client.ts';
import type { Log } from '../log.ts';
import type { Names } from '../redis/names.ts';
import { parseIntent, type Intent } from './intent.ts';
import { noUsage } from '../provider/usage.ts';
import { releaseSlot } from './release.ts';
import type { Settle } from './settle.ts';

export type Reaping = { redis: Redis; names: Names; settle: Settle; log: Log };

/** Settles the intents of senders that `isDead` says are gone. Returns how many calls were given up. */
export async function reapIntents(
  reaping: Reaping,
  isDead: (workerId: string, intent: Intent) => boolean,
): Promise<number> {
  const { redis, names } = reaping;
  let reaped = 0;
  let cursor = '0';
  do {
    const [next, fields] = await redis.hscan(names.inflight, cursor, 'COUNT', 500);
    cursor = next;
    for (let index = 0; index + 1 < fields.length; index += 2) {
      const intent = parseIntent(fields[index] as string, fields[index + 1] as string);
      if (isDead(intent.workerId, intent) && (await reapIntent(reaping, intent))) reaped += 1;
    }
  } while (cursor !== '0');
  return reaped;
}

/**
 * One call's answer will not come, as far as anyone can know. Returns false when it was settled meanwhile, or was never
 * made: then nothing is possibly billed and no attempt is spent.
 */
export async function reapIntent({ redis, names, settle, log }: Reaping, intent: Intent): Promise<boolean> {
  // Surely not sent: its time had not come when its sender died.
  if (intent.isReserved) {
    if (await releaseSlot(settle, intent)) {
      log.debug({ batchId: intent.batchId, line: intent.line }, 'a reserved slot was given back');
    }
    return false;
  }
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
        firstTokenMs: null,
        ...noUsage,
        requestId: null,
      },
    },
    end: null,
  });
  if (settled) {
    log.info(
      { batchId: intent.batchId, line: intent.line, attemptId: intent.attemptId },
      'no answer seen: possibly billed',
    );
  }
  return settled;
}
