/**
 * Model listings: reading `GET /v1/models` and resolving a requested name — an id or an alias such as `fast` — against
 * one. Pure; who fetches a listing and how long it is trusted is keys/listings.ts. Source: providers.md §1.
 */
import { z } from 'zod';
import type { Price } from '../config.ts';

export type Model = {
  id: string;
  aliases: string[];
  contextLength: number | null;
  /** Answers chat completions. Embeddings, speech and the like do not. */
  callable: boolean;
  price: Price | null;
  /** What the model takes; null: the listing does not say. */
  supportedParameters: ReadonlySet<string> | null;
  /** The flags that are true; null: the listing does not say. */
  capabilities: ReadonlySet<string> | null;
};

/** By id. */
export type Listing = ReadonlyMap<string, Model>;

const usdPerToken = z.coerce.number().nonnegative();
/** What reaches a tab-separated record in Redis (intent.ts) must hold no control characters. */
const entrySchema = z.object({
  id: z.string().regex(/^[^\p{Cc}]+$/u),
  aliases: z.array(z.string()).nullish().catch(null),
  context_length: z.number().positive().nullish().catch(null),
  model_type: z.string().nullish().catch(null),
  supported_parameters: z.array(z.string()).nullish().catch(null),
  capabilities: z.record(z.string(), z.unknown()).nullish().catch(null),
  cost: z
    .object({ input_per_m_token: z.number().nonnegative(), output_per_m_token: z.number().nonnegative() })
    .nullish()
    .catch(null),
  /** OpenRouter: strings, USD per token. */
  pricing: z.object({ prompt: usdPerToken, completion: usdPerToken }).nullish().catch(null),
});
type Entry = z.infer<typeof entrySchema>;
const listSchema = z.object({ data: z.array(z.unknown()) });
const chatTypes = new Set(['chat', 'vision-chat']);

/** Null when the body is no model list at all. Entries that cannot be read are skipped: one odd model harms no other. */
export function parseListing(json: unknown): Listing | null {
  const list = listSchema.safeParse(json);
  if (!list.success) return null;
  const models = new Map<string, Model>();
  for (const raw of list.data.data) {
    const entry = entrySchema.safeParse(raw);
    if (!entry.success) continue;
    const { id, aliases, context_length, supported_parameters, capabilities } = entry.data;
    models.set(id, {
      id,
      aliases: aliases ?? [],
      contextLength: context_length ?? null,
      callable: isCallable(entry.data),
      price: priceOf(entry.data),
      supportedParameters: supported_parameters ? new Set(supported_parameters) : null,
      // Only true flags are present; absent means false.
      capabilities: capabilities ? new Set(Object.keys(capabilities).filter((flag) => capabilities[flag])) : null,
    });
  }
  return models;
}

/** Listed is not always callable on chat: embeddings, speech, `:batch` ids. */
const notChat = /:batch$|(^|[/_-])(embed(ding)?s?|tts|whisper|dall-e|moderation|rerank(er)?)([/_.-]|\d|$)/i;

function isCallable({ id, model_type, supported_parameters }: Entry): boolean {
  if (model_type) return chatTypes.has(model_type) && supported_parameters?.length !== 0;
  // An empty list of parameters means "not a chat model"; an absent one says nothing.
  return supported_parameters?.length !== 0 && !notChat.test(id);
}

/** PrivateMind: numbers, USD per million tokens. OpenRouter: strings, USD per token. */
function priceOf({ cost, pricing }: Entry): Price | null {
  if (cost) return { inputUsdPerMTok: cost.input_per_m_token, outputUsdPerMTok: cost.output_per_m_token };
  if (pricing) return { inputUsdPerMTok: pricing.prompt * 1e6, outputUsdPerMTok: pricing.completion * 1e6 };
  return null;
}

export type ResolveRules = {
  /** Configured alias → id, for providers whose listing has no aliases. */
  aliases: Record<string, string>;
  /** Requested name → ids to try when it is not there. */
  fallbacks: Record<string, string[]>;
};

/**
 * Exact id → the listing's alias → configured alias → configured fallbacks → null. What is configured may be an id or
 * an alias of the listing, too. (An entry whose id is the alias itself is the first case.)
 */
export function resolveModel(listing: Listing, requested: string, rules: ResolveRules): Model | null {
  const named = (name: string): Model | null => {
    const exact = listing.get(name);
    if (exact?.callable) return exact;
    for (const model of listing.values()) if (model.callable && model.aliases.includes(name)) return model;
    return null;
  };
  const alias = configured(rules.aliases, requested);
  const fallbacks = configured(rules.fallbacks, requested) ?? [];
  for (const name of [requested, ...(alias === undefined ? [] : [alias]), ...fallbacks]) {
    const model = named(name);
    if (model) return model;
  }
  return null;
}

/** A request may name any model, "constructor" and "toString" among them. */
function configured<T>(rules: Record<string, T>, requested: string): T | undefined {
  return Object.hasOwn(rules, requested) ? rules[requested] : undefined;
}

/** Of a requested name: no model's is longer, and a prompt in its place must not cost minutes. */
const comparedChars = 100;

/** Names near to what was asked for, for the message of a rejection: callable ids and aliases, nearest first. */
export function nearestNames(listing: Listing, requested: string, most = 5): string[] {
  const names = new Set([...listing.values()].filter((m) => m.callable).flatMap((m) => [...m.aliases, m.id]));
  const wanted = requested.slice(0, comparedChars).toLowerCase();
  return [...names]
    .map((name) => ({ name, distance: editDistance(name.toLowerCase(), wanted) }))
    .toSorted((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ name }) => name);
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, swap));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
