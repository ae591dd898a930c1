/**
 * The keys that live workers serve, announced in Redis by each worker as long as it can list their models: who has only
 * some of them must not judge by those alone that a request can never be served.
 */
import type { Redis } from '../redis/client.ts';
import { z } from 'zod';
import { providerKinds, type Config } from '../config.ts';
import { parseJson } from '../provider/answer.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';
import type { Key } from './keyring.ts';

/** What others need to know of a key to tell whether it could serve a request; no secret. */
const announcementSchema = z.object({
  atMs: z.number(),
  provider: z.string(),
  kind: z.enum(providerKinds),
  tpm: z.number().nullable(),
  budgetNanoUsd: z.number().nullable(),
  aliases: z.record(z.string(), z.string()),
  fallbacks: z.record(z.string(), z.array(z.string())),
});
export type Announced = Omit<z.infer<typeof announcementSchema>, 'atMs'> & { keyId: string };

export const announceEveryMs = 5000;
/** Two announcements may be missed. */
const believedForMs = 15_000;

export async function announceKeys(
  redis: Redis,
  names: Names,
  keys: readonly Key[],
  { aliases, fallbacks }: Pick<Config, 'aliases' | 'fallbacks'>,
): Promise<void> {
  if (keys.length === 0) return;
  const atMs = await redisTimeMs(redis);
  const said = keys.map(({ keyId, provider, tpm, budgetNanoUsd }): [string, string] => [
    keyId,
    JSON.stringify({
      atMs,
      provider: provider.name,
      kind: provider.kind,
      tpm: typeof tpm === 'number' ? tpm : null,
      budgetNanoUsd,
      aliases: aliases[provider.name] ?? {},
      fallbacks,
    } satisfies z.input<typeof announcementSchema>),
  ]);
  await redis.hset(names.announced, Object.fromEntries(said));
}

/** Of the workers that live. What nobody announces any more is forgotten on the way. */
export async function readAnnounced(redis: Redis, names: Names): Promise<Announced[]> {
  const [all, nowMs] = await Promise.all([redis.hgetall(names.announced), redisTimeMs(redis)]);
  const live: Announced[] = [];
  for (const [keyId, json] of Object.entries(all)) {
    const { success, data } = announcementSchema.safeParse(parseJson(json));
    if (success && nowMs - data.atMs <= believedForMs) live.push({ keyId, ...data });
    else await redis.hdel(names.announced, keyId);
  }
  return live;
}
