/**
 * The keys that live workers serve, announced in Redis as long as their models can be listed: who has only some of them
 * must not judge by those alone that a request can never be served. Of the workers that hold the same keys one speaks
 * for all.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { providerKinds, type Config } from '../config.ts';
import { parseJson } from '../provider/answer.ts';
import type { Redis } from '../redis/client.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';
import type { Key } from './keyring.ts';

/** What others need to know of a key to tell whether it could serve a request; no secret. */
const announcedSchema = z.object({
  keyId: z.string(),
  provider: z.string(),
  kind: z.enum(providerKinds),
  // Workers of earlier versions do not say it.
  org: z.string().default(''),
  tpm: z.number().nullable(),
  budgetNanoUsd: z.number().nullable(),
  aliases: z.record(z.string(), z.string()),
  fallbacks: z.record(z.string(), z.array(z.string())),
});
export type Announced = z.infer<typeof announcedSchema>;
const announcementSchema = z.object({ atMs: z.number(), keys: z.array(announcedSchema) });

export const announceEveryMs = 5000;
/** Whoever speaks first in this time speaks for all. Shorter than the pause, so that every round is spoken. */
const spokenForMs = 4000;
/** Two announcements may be missed. */
export const believedForMs = 15_000;
/** After an outage of Redis, older ones are believed until their workers had the time to speak again. */
export const forgottenAfterMs = 600_000;

export async function announceKeys(
  redis: Redis,
  names: Names,
  keys: readonly Key[],
  { aliases, fallbacks }: Pick<Config, 'aliases' | 'fallbacks'>,
): Promise<void> {
  if (keys.length === 0) return;
  const said = keys.map(({ keyId, org, provider, tpm, budgetNanoUsd }): Announced => {
    const { name, kind } = provider;
    const limit = typeof tpm === 'number' ? tpm : null;
    return { keyId, provider: name, kind, org, tpm: limit, budgetNanoUsd, aliases: aliases[name] ?? {}, fallbacks };
  });
  const field = createHash('sha256').update(JSON.stringify(said)).digest('hex').slice(0, 16);
  if ((await redis.set(names.announcing(field), '1', 'PX', spokenForMs, 'NX')) !== 'OK') return;
  await redis.hset(names.announced, field, JSON.stringify({ atMs: await redisTimeMs(redis), keys: said }));
}

/** Each key as it was announced last, and how long ago. What nobody has said for long is forgotten on the way. */
export async function readAnnounced(redis: Redis, names: Names): Promise<(Announced & { ageMs: number })[]> {
  const [all, nowMs] = await Promise.all([redis.hgetall(names.announced), redisTimeMs(redis)]);
  const keys = new Map<string, Announced & { ageMs: number }>();
  for (const [field, json] of Object.entries(all)) {
    const { success, data } = announcementSchema.safeParse(parseJson(json));
    // A newer worker's words may be others.
    if (!success) continue;
    const ageMs = nowMs - data.atMs;
    if (ageMs > forgottenAfterMs) await redis.hdel(names.announced, field);
    for (const key of data.keys)
      if (ageMs < (keys.get(key.keyId)?.ageMs ?? Infinity)) keys.set(key.keyId, { ...key, ageMs });
  }
  return [...keys.values()];
}

/** As its worker calls it. */
export async function nameOf(redis: Redis, names: Names, keyId: string): Promise<string> {
  return (await redis.hget(names.key(keyId), 'name')) ?? keyId;
}

/** These keys, and those of their organisations that live workers have announced: what closed them closed all. */
export async function withOrganisations(
  redis: Redis,
  names: Names,
  keys: readonly Key[],
): Promise<Pick<Key, 'keyId' | 'name'>[]> {
  const announced = await readAnnounced(redis, names);
  const others = announced.filter(
    ({ keyId, org, provider }) =>
      keys.every((key) => key.keyId !== keyId) && keys.some((key) => key.org === org && key.provider.name === provider),
  );
  const named = others.map(async ({ keyId }) => ({ keyId, name: await nameOf(redis, names, keyId) }));
  return [...keys, ...(await Promise.all(named))];
}
