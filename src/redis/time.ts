/** Redis' clock: the one that all workers share. */
import type { Redis } from './client.ts';

export async function redisTimeMs(redis: Redis): Promise<number> {
  const [seconds, micros] = await redis.time();
  return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
}
