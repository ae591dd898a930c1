/** What learnt.lua has learnt of a key's limit, read without changing it. */
import type { Redis } from '../redis/client.ts';
import type { Names } from '../redis/names.ts';

/** Requests per window; null while it is only a guess. */
export async function readLearntRpm(redis: Redis, names: Names, keyId: string): Promise<number | null> {
  const [top, sure] = await redis.hmget(names.key(keyId), 'top', 'sure');
  const rpm = Number(top ?? 0);
  return sure === '1' && rpm > 0 ? rpm : null;
}
