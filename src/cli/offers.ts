/**
 * What the keys have to offer, asked before anything is sent: each key's model listing. `check` and `estimate` ask the
 * providers themselves and need no Redis; `run` goes through the listings that its workers will use.
 */
import { createInspect, type Inspect, type Offer } from '../batch/inspect.ts';
import type { Config } from '../config.ts';
import { AppError } from '../errors.ts';
import { createKeyring, type Key, type Keyring } from '../keys/keyring.ts';
import { createListings, type ListingResult } from '../keys/listings.ts';
import { parseJson } from '../provider/answer.ts';
import { classify } from '../provider/classify.ts';
import { createClient, type Client } from '../provider/client.ts';
import { parseListing } from '../provider/models.ts';
import type { Outcome } from '../provider/outcome.ts';
import { profileOf } from '../provider/profile.ts';
import type { Globals } from './main.ts';
import { configOf, type Session } from './session.ts';

export type KeyOffer = Offer & { key: Key };

export type Offers = {
  /** Keys that surely answer nothing are not among them. */
  offers: KeyOffer[];
  /** One remark for each key, or all of them, whose models are not known. */
  remarks: string[];
};

/**
 * The configuration for a command that can do without keys: one whose secret is missing or malformed is a remark.
 * Errors: `config`, of the rest of it.
 */
export function keysIfAny(globals: Globals, { offline }: { offline: boolean }) {
  if (!offline) {
    try {
      const config = configOf(globals, { secrets: true });
      return { config, keyring: createKeyring(config), remarks: [] };
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      const config = configOf(globals, { secrets: false });
      return { config, keyring: createKeyring(config), remarks: [`no key can be asked: ${error.message}`] };
    }
  }
  const config = configOf(globals, { secrets: false });
  return { config, keyring: createKeyring(config), remarks: [] };
}

/** Asks every key of the keyring. Errors: none; what is refused is a remark. */
export async function askOffers(config: Config, keyring: Keyring): Promise<Offers> {
  if (keyring.keys.length === 0) return { offers: [], remarks: [] };
  const client = createClient({ connections: keyring.keys.length, attemptTimeoutMs: config.attemptTimeoutMs });
  try {
    return await collectOffers(keyring, (key) => fetchListing(client, key, keyring.redact));
  } finally {
    await client.close();
  }
}

/** The check of each line before a batch begins. */
export async function inspectFor(
  { config, redis, names }: Session,
  keyring: Keyring,
  { dropUnsupported }: { dropUnsupported: boolean },
): Promise<Inspect> {
  const client = createClient({ connections: keyring.keys.length, attemptTimeoutMs: config.attemptTimeoutMs });
  try {
    const { modelsMaxAgeMs: maxAgeMs, aliases, fallbacks } = config;
    const listings = createListings({ redis: redis.client, names, client, maxAgeMs, redact: keyring.redact });
    const { offers } = await collectOffers(keyring, listings.get);
    return createInspect(offers, { aliases, fallbacks, dropUnsupported });
  } finally {
    await client.close();
  }
}

async function collectOffers(keyring: Keyring, get: (key: Key) => Promise<ListingResult>): Promise<Offers> {
  const results = await Promise.all(keyring.keys.map(async (key) => ({ key, result: await get(key) })));
  const offers: KeyOffer[] = [];
  const namesByWhy = new Map<string, string[]>();
  for (const { key, result } of results) {
    const { provider } = key;
    if (result.tag === 'listing') {
      offers.push({ key, provider, listing: result.listing });
      continue;
    }
    if (!isDead(result.outcome)) offers.push({ key, provider, listing: null });
    // Several keys mostly meet the same fate: told once.
    const why = `${provider.baseUrl}: ${wordsOf(result.outcome)}`;
    namesByWhy.set(why, [...(namesByWhy.get(why) ?? []), key.name]);
  }
  const remarks = [...namesByWhy].map(([why, names]) => `no model listing for ${names.join(', ')} at ${why}`);
  return { offers, remarks };
}

async function fetchListing(client: Client, key: Key, redact: (text: string) => string): Promise<ListingResult> {
  const answer = await client.get(key, profileOf(key.provider.kind).modelsPath);
  const listing = answer.tag === 'http' && answer.status === 200 ? parseListing(parseJson(answer.body)) : null;
  // An empty catalogue is a platform being upgraded: nothing is known then.
  if (listing && listing.size > 0) return { tag: 'listing', listing };
  if (answer.tag === 'http' && answer.status === 200) {
    const message = listing ? 'it lists no models' : 'it answered with something else than a list of models';
    return { tag: 'refused', outcome: { tag: 'retry', code: 'no_listing', message, retryAfterMs: null } };
  }
  return { tag: 'refused', outcome: classify(key.provider.kind, answer, { nowMs: Date.now(), redact }) };
}

/** A spent budget may be raised. */
function isDead(outcome: Outcome): boolean {
  return 'reason' in outcome && outcome.reason !== 'exhausted' && outcome.reason !== 'org_exhausted';
}

function wordsOf(outcome: Outcome): string {
  const reason = 'reason' in outcome ? `${outcome.reason}: ` : '';
  return reason + ('message' in outcome ? outcome.message.replaceAll(/\s+/g, ' ').trim() : outcome.tag);
}
