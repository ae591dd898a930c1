/**
 * Keys whose models the provider refuses to list: they serve nothing, so they are retired, and a person is told of each
 * once. A key is told of again only after it was found well.
 */
import type { Key, Keyring } from '../src/keys/keyring.ts';
import type { ListingResult } from '../src/keys/listings.ts';
import { retireKeys } from '../src/keys/standing.ts';
import type { Log } from '../src/log.ts';
import type { Outcome } from '../src/provider/outcome.ts';
import type { WorkerContext } from './context.ts';
import { closeNow, retiredWith } from './organisation.ts';

export type Refusal = { key: Key; outcome: Outcome };

/** Of these keys, those that are refused until a person acts or a budget comes back. */
export async function retireRefused(
  ctx: Pick<WorkerContext, 'redis' | 'names' | 'keyring' | 'listings' | 'elsewhere' | 'closedAtMs'>,
  keys: readonly Key[],
): Promise<void> {
  const results = await Promise.all(keys.map(async (key) => ({ key, result: await ctx.listings.get(key) })));
  for (const { key, result } of results) {
    if (result.tag !== 'refused') continue;
    const { outcome } = result;
    if (outcome.tag === 'key_retired' || outcome.tag === 'org_retired') await retireFor(ctx, key, outcome);
  }
}

/** The key, or all of its organisation: here at once, and then for everybody. */
export async function retireFor(
  ctx: Pick<WorkerContext, 'redis' | 'names' | 'keyring' | 'elsewhere' | 'closedAtMs'>,
  key: Key,
  { tag, reason, backInMs }: Extract<Outcome, { tag: 'key_retired' | 'org_retired' }>,
): Promise<void> {
  closeNow(ctx, key, tag);
  await retireKeys(ctx.redis, ctx.names, await retiredWith(ctx, key, tag), reason, backInMs);
}

type Told = { keyIds: Set<string>; ofNoneLeft: boolean };
/** A run that checks its keys and the worker inside it have one keyring, and tell of each key once between them. */
const toldOf = new WeakMap<Keyring, Told>();

function toldSoFar(keyring: Keyring): Told {
  const known = toldOf.get(keyring);
  if (known) return known;
  const none = { keyIds: new Set<string>(), ofNoneLeft: false };
  toldOf.set(keyring, none);
  return none;
}

export function tellRefused({ keyring, log }: { keyring: Keyring; log: Log }, { key, outcome }: Refusal): void {
  const { keyIds } = toldSoFar(keyring);
  if (keyIds.has(key.keyId)) return;
  keyIds.add(key.keyId);
  const why = wordsOf(outcome);
  const reason = 'reason' in outcome ? ` (${outcome.reason})` : '';
  log.warn({ keyName: key.name, why }, `key ${key.name} was refused${reason}: ${why}; see: nightshift keys check`);
}

/**
 * What a worker says of its keys by their listings; null: not known yet. A provider that does not answer is none of this:
 * its circuit tells.
 */
export function tellOfListings(
  told: { keyring: Keyring; log: Log },
  listed: readonly { key: Key; result: ListingResult | null }[],
): void {
  const sofar = toldSoFar(told.keyring);
  let lost = 0;
  for (const { key, result } of listed) {
    if (result?.tag === 'listing') sofar.keyIds.delete(key.keyId);
    if (result?.tag !== 'refused' || !needsPerson(result.outcome)) continue;
    lost += 1;
    tellRefused(told, { key, outcome: result.outcome });
  }
  const isNoneLeft = listed.length > 0 && lost === listed.length;
  if (isNoneLeft && !sofar.ofNoneLeft) {
    told.log.warn('every key was refused: this worker can send nothing with its own keys until one of them works');
  }
  // What is not known yet is no news.
  if (isNoneLeft || listed.some(({ result }) => result?.tag === 'listing')) sofar.ofNoneLeft = isNoneLeft;
}

function needsPerson({ tag }: Outcome): boolean {
  return tag === 'key_retired' || tag === 'org_retired' || tag === 'misconfigured';
}

/** The provider's words on one line. */
export function wordsOf(outcome: Outcome): string {
  const message = 'message' in outcome ? outcome.message.replaceAll(/\s+/g, ' ').trim() : outcome.tag;
  // OpenSSL's own words for it help nobody.
  if (/wrong version number|packet length too long/i.test(message)) return 'it does not speak TLS on this port';
  return message;
}
