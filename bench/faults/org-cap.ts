/**
 * Calls after the organisation's 402: those that were not in flight when it came. In flight is what had been sent when
 * the workers could know: when Redis had recorded that the organisation's keys are retired. A call that was sent later
 * than that by more than the way from a granted slot to the wire counts; and so does, in case Redis is told too late,
 * whatever is sent long after the first 402 has left the provider. The count ends when the budget is raised, or when a
 * command that a person has typed opens the keys, which tries them anew.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { SeenCall } from './witness.ts';

/** From the granting of a slot to the wire, on a busy machine. */
export const onItsWayMs = 250;
/** The 402's way to its worker and to Redis, at most. */
export const tellingMs = 2000;

export type CapPeriod = {
  provider: string;
  /** performance.now, as all times here. */
  fromMs: number;
  /** When Redis was seen to know. Null: never. */
  knownAtMs: number | null;
  /** Null: neither raised nor opened. */
  untilMs: number | null;
};

/** `sentAtMs`: when a call was sent. `brokeKeys`: are told 402 for a reason of their own. */
export function countAfterCap(
  calls: readonly SeenCall[],
  period: CapPeriod,
  sentAtMs: (call: SeenCall) => number,
  brokeKeys: ReadonlySet<string>,
): number {
  const { provider, fromMs, knownAtMs, untilMs } = period;
  const own = calls.filter((call) => call.provider === provider && call.arrivedAtMs < (untilMs ?? Infinity));
  const told = own
    .filter(({ status, endedAtMs, keyName }) => status === 402 && endedAtMs !== null && !brokeKeys.has(keyName))
    .map(({ endedAtMs }) => endedAtMs as number)
    .filter((at) => at >= fromMs);
  const latestMs = Math.min((knownAtMs ?? Infinity) + onItsWayMs, Math.min(...told) + tellingMs);
  return own.filter((call) => sentAtMs(call) > latestMs).length;
}

/** Fills in when Redis is seen to have retired all these keys, and when a person's command has them tried again. */
export async function follow(
  redis: Redis,
  tokens: readonly string[],
  cap: CapPeriod,
  over: AbortSignal,
): Promise<void> {
  const names = tokens.map((token) => `{nightshift}:key:${keyIdOf(token)}`);
  const read = (field: string) => Promise.all(names.map((name) => redis.hget(name, field)));
  const before = String(await read('reopened'));
  while (!over.aborted && cap.untilMs === null) {
    if ((await read('standing')).every((standing) => standing === 'retired')) cap.knownAtMs ??= performance.now();
    if (String(await read('reopened')) !== before) cap.untilMs ??= performance.now();
    await sleep(5);
  }
}

function keyIdOf(token: string): string {
  return createHash('sha256').update(token).digest('hex').slice(0, 12);
}
