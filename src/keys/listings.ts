/**
 * Model listings as the workers share them: one per (provider, key), kept in Redis with its age, fetched by one worker
 * at a time. A listing older than `maxAgeMs` is fetched again before use; a model error forces that sooner, at most
 * once a second. What a listing says is provider/models.ts.
 */
import type { Redis } from '../redis/client.ts';
import { parseJson, type Answer } from '../provider/answer.ts';
import { classify } from '../provider/classify.ts';
import type { Client } from '../provider/client.ts';
import { parseListing, type Listing } from '../provider/models.ts';
import type { Outcome } from '../provider/outcome.ts';
import { profileOf } from '../provider/profile.ts';
import type { Names } from '../redis/names.ts';
import { redisTimeMs } from '../redis/time.ts';
import type { Key } from './keyring.ts';

export type ListingResult =
  | { tag: 'listing'; listing: Listing }
  /** The key or the provider refused; `outcome` says how. */
  | { tag: 'refused'; outcome: Outcome };

export type Listings = {
  /** The listing as it is known here, when it is fresh enough. */
  known: (key: Key) => ListingResult | null;
  /** A listing that is fresh enough, fetched if need be. */
  get: (key: Key) => Promise<ListingResult>;
  /** The listing was wrong about a model: have it fetched again before its next use. */
  distrust: (key: Key) => void;
};

export type ListingsOptions = {
  redis: Redis;
  names: Names;
  client: Client;
  maxAgeMs: number;
  redact: (text: string) => string;
  /** How long a refusal holds: a dead key is not asked again for every line. Default 5 s. */
  refusedForMs?: number;
};

const lockMs = 25_000;
const followPollMs = 100;
/** A model error may force a refresh this often (design §6). */
const soonestRefreshMs = 1000;

/** Times on this process' monotonic clock; a listing's age is counted by Redis' clock, which all workers share. */
type Known = { listing: Listing; fetchedAtMs: number; distrustedAtMs: number };

export function createListings(options: ListingsOptions): Listings {
  const known = new Map<string, Known>();
  const pending = new Map<string, Promise<ListingResult>>();
  const refused = new Map<string, { result: ListingResult; atMs: number }>();

  const fresh = (entry: Known | undefined): entry is Known =>
    entry !== undefined &&
    performance.now() - entry.fetchedAtMs < options.maxAgeMs &&
    !(entry.distrustedAtMs > entry.fetchedAtMs && performance.now() - entry.fetchedAtMs >= soonestRefreshMs);

  async function refresh(key: Key): Promise<ListingResult> {
    // Never, to begin with: a listing may be older than this process, whose clock begins at 0.
    const distrustedAtMs = known.get(key.keyId)?.distrustedAtMs ?? Number.NEGATIVE_INFINITY;
    const name = options.names.models(key.provider.name, key.keyId);
    const lock = options.names.modelsLock(key.provider.name, key.keyId);
    const shared = async () => {
      const [json, fetchedAt] = await options.redis.hmget(name, 'json', 'fetchedAt');
      const listing = json ? parseListing(parseJson(json)) : null;
      if (!listing) return null;
      const ageMs = (await redisTimeMs(options.redis)) - Number(fetchedAt);
      const entry = { listing, fetchedAtMs: performance.now() - ageMs, distrustedAtMs };
      return fresh(entry) ? remember(key, entry) : null;
    };
    for (;;) {
      const found = await shared();
      if (found) return found;
      // Whoever gets the lock fetches; the others look again until it is there or the fetcher has died.
      if ((await options.redis.set(lock, '1', 'PX', lockMs, 'NX')) === 'OK') break;
      await new Promise((resolve) => setTimeout(resolve, followPollMs));
    }
    try {
      // Somebody may have fetched it between our look and our lock.
      const found = await shared();
      if (found) return found;
      const fetchedAtMs = performance.now();
      const answer = await options.client.get(key, profileOf(key.provider.kind).modelsPath);
      const body = answer.tag === 'http' && answer.status === 200 ? answer.body : '';
      const listing = parseListing(parseJson(body));
      if (!listing) return { tag: 'refused', outcome: refusal(key, answer) };
      // An empty catalogue is a platform being upgraded, not a reason to reject every line.
      if (listing.size === 0) {
        const message = `${key.provider.baseUrl} lists no models for key "${key.name}"`;
        return { tag: 'refused', outcome: { tag: 'retry', code: 'empty_listing', message, retryAfterMs: null } };
      }
      await options.redis.hset(name, { json: body, fetchedAt: await redisTimeMs(options.redis) });
      return remember(key, { listing, fetchedAtMs, distrustedAtMs });
    } finally {
      await options.redis.del(lock);
    }
  }

  function remember(key: Key, entry: Known): ListingResult {
    known.set(key.keyId, entry);
    return { tag: 'listing', listing: entry.listing };
  }

  function refusal(key: Key, answer: Answer): Outcome {
    const outcome = classify(key.provider.kind, answer, { nowMs: Date.now(), redact: options.redact });
    // A 200 that is no model list, a 404: not this API, or not at this URL.
    if (answer.tag === 'http' && (answer.status === 200 || answer.status === 404)) {
      const url = key.provider.baseUrl + profileOf(key.provider.kind).modelsPath;
      const said = 'message' in outcome ? outcome.message : `HTTP ${answer.status} without a list of models`;
      return { tag: 'misconfigured', code: 'wrong_base_url', message: `${url} is not a model listing: ${said}` };
    }
    return outcome;
  }

  const knownNow = (key: Key): ListingResult | null => {
    const entry = known.get(key.keyId);
    return fresh(entry) ? { tag: 'listing', listing: entry.listing } : null;
  };

  return {
    known: knownNow,
    get(key) {
      const now = knownNow(key);
      if (now) return Promise.resolve(now);
      const underWay = pending.get(key.keyId);
      if (underWay) return underWay;
      const no = refused.get(key.keyId);
      if (no && performance.now() - no.atMs < (options.refusedForMs ?? 5000)) return Promise.resolve(no.result);
      const started = refresh(key)
        .then((result) => {
          if (result.tag === 'refused') refused.set(key.keyId, { result, atMs: performance.now() });
          else refused.delete(key.keyId);
          return result;
        })
        .finally(() => pending.delete(key.keyId));
      pending.set(key.keyId, started);
      return started;
    },
    distrust(key) {
      const entry = known.get(key.keyId);
      if (entry) entry.distrustedAtMs = performance.now();
    },
  };
}
