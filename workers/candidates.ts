/**
 * Which keys may serve a request, and what its model is called on each: every key's fresh listing, resolved.
 */
import type { BatchRecord } from '../src/batch/batch.ts';
import type { Price } from '../src/config.ts';
import type { Key } from '../src/keys/keyring.ts';
import type { Candidate } from '../src/keys/limiter.ts';
import type { ListingResult } from '../src/keys/listings.ts';
import type { ModelFacts } from '../src/keys/estimate.ts';
import { nearestNames, resolveModel, type Listing, type Model } from '../src/provider/models.ts';
import type { Outcome } from '../src/provider/outcome.ts';
import type { WorkerContext } from './context.ts';
import type { Refusal } from './refused.ts';

export type Resolved = Candidate & {
  facts: Model;
  /** What to send to this model, where pre-flight changed it. */
  body?: Record<string, unknown>;
};

export type Candidates =
  | { tag: 'some'; candidates: Resolved[] }
  /** Listings are there, and none of them knows the model. */
  | { tag: 'unknown_model'; nearest: string[] }
  /** No key offers it, and this one's listing could not be had. */
  | { tag: 'no_listing'; key: Key; outcome: Outcome };

export async function findCandidates(ctx: WorkerContext, batch: BatchRecord, requested: string): Promise<Candidates> {
  const wanted = batch.options.pinModels ? await pinned(ctx, batch, requested) : requested;
  const { keys } = ctx.keyring;
  const known = keys.map((key) => ctx.listings.known(key));
  const results = known.includes(null) ? await Promise.all(keys.map((key) => ctx.listings.get(key))) : known;
  const all: Resolved[] = [];
  const listings: Listing[] = [];
  const refused: Refusal[] = [];
  // The keys may be replaced while their listings are fetched.
  for (const [index, key] of keys.entries()) {
    const result = results[index] as ListingResult;
    if (result.tag === 'refused') {
      refused.push({ key, outcome: result.outcome });
      continue;
    }
    listings.push(result.listing);
    const facts = resolveFor(ctx, key, result.listing, wanted);
    if (facts) all.push({ key, model: facts.id, facts });
  }
  if (all.length > 0) {
    const preferred = all.filter(({ key, model }) => !ctx.exclusions.has(key, model));
    return { tag: 'some', candidates: preferred.length > 0 ? preferred : all };
  }
  const [telling] = refused.toSorted((a, b) => weightOf(ctx, a) - weightOf(ctx, b));
  if (telling) return { tag: 'no_listing', ...telling };
  return { tag: 'unknown_model', nearest: nearestNames(new Map(listings.flatMap((l) => [...l])), requested) };
}

/**
 * Which refusal counts, lowest first: a provider may be back soon and a URL be mended, whereas a key is lost. Of the lost
 * ones each gets its turn to be retired.
 */
function weightOf({ closedAtMs }: WorkerContext, { key, outcome }: Refusal): number {
  if (outcome.tag === 'misconfigured') return 1;
  if (outcome.tag !== 'key_retired' && outcome.tag !== 'org_retired') return 0;
  return closedAtMs.has(key.keyId) ? 3 : 2;
}

function resolveFor(ctx: WorkerContext, key: Key, listing: Listing, wanted: string): Model | null {
  return resolveModel(listing, wanted, {
    aliases: ctx.config.aliases[key.provider.name] ?? {},
    fallbacks: ctx.config.fallbacks,
  });
}

/** `--pin-models`: the first resolution in a batch holds for all of it, on whichever worker. */
export async function pinned(ctx: WorkerContext, batch: BatchRecord, requested: string): Promise<string> {
  const name = ctx.names.batch(batch.batchId);
  const field = `pin:${requested}`;
  const known = await ctx.redis.hget(name, field);
  if (known) return known;
  for (const key of ctx.keyring.keys) {
    const result = await ctx.listings.get(key);
    const model = result.tag === 'listing' ? resolveFor(ctx, key, result.listing, requested) : null;
    if (!model) continue;
    await ctx.redis.hsetnx(name, field, model.id);
    return (await ctx.redis.hget(name, field)) ?? model.id;
  }
  return requested;
}

export function factsFor(ctx: WorkerContext, candidate: Resolved): ModelFacts {
  const { listing, configured } = priceOf(ctx, candidate);
  return {
    price: listing ?? configured,
    contextLength: candidate.facts.contextLength,
    tpm: typeof candidate.key.tpm === 'number' ? candidate.key.tpm : null,
    tpmCounts: candidate.key.tpmCounts,
  };
}

export function priceOf(ctx: WorkerContext, { facts }: Resolved): { listing: Price | null; configured: Price | null } {
  return { listing: facts.price, configured: ctx.config.prices[facts.id] ?? null };
}
