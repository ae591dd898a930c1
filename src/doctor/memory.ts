/** What our own Redis remembers of a key: its standing, what it has spent, and what 429s and headers have taught. */
import type { Redis } from '../redis/client.ts';
import type { Key } from '../keys/keyring.ts';
import { readStanding, type Standing } from '../keys/standing.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';

export type Memory = {
  standing: Standing;
  /** Spend of this UTC day, all batches and keys together. */
  spentTodayNanoUsd: number;
};

const dayMs = 86_400_000;

export async function readMemory(redis: Redis, names: Names, key: Key): Promise<Memory> {
  const standing = await readStanding(redis, names, key.keyId);
  const day = Math.floor((await redisTimeMs(redis)) / dayMs);
  const spent = await redis.hget(names.spend, `spent:${day}`);
  return { standing, spentTodayNanoUsd: Number(spent ?? 0) };
}
