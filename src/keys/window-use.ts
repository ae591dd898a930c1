/** What stands in a key's window now, for display: acquire.lua's slices, read without changing them. */
import type { Redis } from '../redis/client.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';
import type { Key } from './keyring.ts';
import { windowShape } from './window.ts';

export type WindowUse = { requests: number; tokens: number };

export async function readWindow(redis: Redis, names: Names, key: Key): Promise<WindowUse> {
  const fields = await redis.hgetall(names.bucket(key.bucketId));
  const { windowMs, sliceMs } = windowShape(key.provider.windowMs);
  const oldest = Math.floor(((await redisTimeMs(redis)) - windowMs) / sliceMs);
  let requests = 0;
  let tokens = 0;
  for (const [field, packed] of Object.entries(fields)) {
    if (!/^s\d+$/.test(field) || Number(field.slice(1)) < oldest) continue;
    const [reqs = 0, toks = 0] = packed.split(':').map(Number);
    requests += reqs;
    tokens += toks;
  }
  return { requests, tokens };
}
