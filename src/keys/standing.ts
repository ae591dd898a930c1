/**
 * A key's standing, outside the hot path: registering keys, retiring one that a listing refused, opening retired ones
 * again because a person said so, and reading them all for display. In a batch it is settle.lua that moves standings.
 *
 *   active ──429──► cooling ──time──► half-open ──success──► active
 *      │                                  └─────429──────► cooling (twice as long)
 *      └──401, 402──► retired ──known reset, or a person──► half-open
 */
import type { Redis } from '../redis/client.ts';
import { z } from 'zod';
import type { RetireReason } from '../provider/outcome.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';
import type { Key } from './keyring.ts';

export type Standing = {
  standing: 'active' | 'cooling' | 'half_open' | 'retired' | 'draining';
  reason: string;
  untilMs: number | null;
  inFlight: number;
  spentNanoUsd: number;
  reservedNanoUsd: number;
  /** What has been learnt of its requests per window (learnt.lua); null where nothing has. */
  learnt: Learnt | null;
};

export type Learnt = {
  /** Accepted in the trailing window at the last 429; null before the first one. */
  rpm: number | null;
  /** What it recovers to, or a guess as long as `sure` is false. */
  top: number;
  sure: boolean;
  /** By a response header. */
  told: boolean;
};

/** So that anyone can put a name to a key id. */
export async function registerKeys(redis: Redis, names: Names, keys: readonly Key[]): Promise<void> {
  const pipeline = redis.pipeline();
  for (const { keyId, name, provider, org } of keys) {
    pipeline.hset(names.key(keyId), { name, provider: provider.name, org });
  }
  await pipeline.exec();
}

export async function retireKeys(
  redis: Redis,
  names: Names,
  keyIds: string[],
  reason: RetireReason,
  backInMs: number | null,
): Promise<void> {
  const since = await redisTimeMs(redis);
  const until = backInMs === null ? 0 : since + backInMs;
  const pipeline = redis.pipeline();
  for (const keyId of keyIds) {
    // What a person takes out of service does not come back with its budget.
    if ((await redis.hget(names.key(keyId), 'standing')) === 'draining') continue;
    pipeline.hset(names.key(keyId), { standing: 'retired', reason, since, until, probe: '' });
  }
  await pipeline.exec();
}

/**
 * Half-open now: the next request tries the key. Only retired keys, or with `draining` also those that a person took
 * out. Returns the names of the keys it opened.
 */
export async function reopenKeys(
  redis: Redis,
  names: Names,
  keys: readonly Pick<Key, 'keyId' | 'name'>[],
  options: { draining: boolean } = { draining: false },
): Promise<string[]> {
  const now = await redisTimeMs(redis);
  const opened: string[] = [];
  for (const key of keys) {
    const standing = await redis.hget(names.key(key.keyId), 'standing');
    if (standing !== 'retired' && !(options.draining && (standing === 'draining' || standing === 'cooling'))) continue;
    // `reopened`: answers to calls sent before this moment tell of the past (settle.lua).
    await redis.hset(names.key(key.keyId), { standing: 'retired', until: now, reopened: now, probe: '' });
    opened.push(key.name);
  }
  return opened;
}

/** Nothing more is sent on it until a person resumes it. */
export async function drainKey(redis: Redis, names: Names, keyId: string): Promise<{ inFlight: number }> {
  const since = await redisTimeMs(redis);
  await redis.hset(names.key(keyId), { standing: 'draining', reason: 'drained', since, until: 0, probe: '' });
  return { inFlight: Number((await redis.hget(names.key(keyId), 'inflight')) ?? 0) };
}

/** The scripts write nothing as ''. */
const positive = z.coerce.number().positive().optional().catch(undefined);

const fieldsSchema = z.object({
  standing: z.enum(['active', 'cooling', 'retired', 'draining']).default('active'),
  reason: z.string().default(''),
  until: z.coerce.number().default(0),
  inflight: z.coerce.number().default(0),
  spent: z.coerce.number().default(0),
  reserved: z.coerce.number().default(0),
  learnt: positive,
  top: positive,
  sure: z.literal('1').optional().catch(undefined),
  told: z.literal('1').optional().catch(undefined),
});

export async function readStanding(redis: Redis, names: Names, keyId: string): Promise<Standing> {
  const fields = fieldsSchema.parse(await redis.hgetall(names.key(keyId)));
  const now = await redisTimeMs(redis);
  const mayComeBack = fields.standing === 'cooling' || fields.standing === 'retired';
  const halfOpen = mayComeBack && fields.until > 0 && fields.until <= now;
  return {
    standing: halfOpen ? 'half_open' : fields.standing,
    reason: fields.reason,
    untilMs: fields.until === 0 || halfOpen ? null : fields.until,
    inFlight: fields.inflight,
    spentNanoUsd: fields.spent,
    reservedNanoUsd: fields.reserved,
    learnt: learntIn(fields),
  };
}

function learntIn({ learnt, top, sure, told }: z.infer<typeof fieldsSchema>): Learnt | null {
  if (learnt === undefined && top === undefined) return null;
  const known = top ?? learnt ?? 0;
  return { rpm: learnt ?? null, top: known, sure: sure !== undefined, told: told !== undefined };
}
