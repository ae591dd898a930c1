/**
 * Late sends. The limiter's window counts a call from its slot's time; a call that goes out later than that (a slow TLS
 * handshake, a busy process) is still inside the provider's window when ours has let it go. So the guard of the
 * bucket's window is widened to the lateness seen, before that window is over; it shrinks by itself (acquire.lua).
 */
import type { Redis } from '../redis/client.ts';
import type { Log } from '../log.ts';
import { messageOf } from '../errors.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';
import type { Key } from './keyring.ts';
import { guardHalvesAfterMs, windowShape } from './window.ts';

export type Lateness = { note: (key: Key, lateMs: number) => void };

/** A guard is told again after this time, because it has begun to shrink. */
const forgetAfterMs = 60_000;
/** For a bucket that nothing but the guard is in; with its first slot acquire.lua takes its expiry over. */
const loneGuardMs = (windowMs: number) => Math.max(3_600_000, 2 * windowMs);

export function createLateness(options: { redis: Redis; names: Names; log: Log }): Lateness {
  const told = new Map<string, { lateMs: number; at: number }>();
  return {
    note(key, lateMs) {
      if (typeof key.rpm !== 'number' && typeof key.tpm !== 'number') return;
      // Half of the guard is for the network; what is late by less needs no word.
      if (lateMs < windowShape(key.provider.windowMs).guardMs / 2) return;
      const last = told.get(key.bucketId);
      const now = performance.now();
      if (last && lateMs <= last.lateMs && now - last.at < forgetAfterMs) return;
      told.set(key.bucketId, { lateMs, at: now });
      widenGuard(options.redis, options.names, key, Math.ceil(lateMs)).catch((error: unknown) => {
        options.log.debug({ error: messageOf(error) }, 'widening the guard');
      });
    },
  };
}

async function widenGuard(redis: Redis, names: Names, { bucketId, provider }: Key, lateMs: number): Promise<void> {
  const { windowMs } = provider;
  const name = names.bucket(bucketId);
  const now = await redisTimeMs(redis);
  const [extra, extraAt] = await redis.hmget(name, 'extra', 'extraAt');
  const left = Number(extra ?? 0) * 0.5 ** (Math.max(0, now - Number(extraAt ?? 0)) / guardHalvesAfterMs(windowMs));
  if (left >= lateMs) return;
  await redis.hset(name, { extra: lateMs, extraAt: now });
  if ((await redis.pttl(name)) < 0) await redis.pexpire(name, loneGuardMs(windowMs));
}
