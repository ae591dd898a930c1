/**
 * Usage and cost of one answer. Order of trust for the cost: the provider's own figure, tokens × the listing's price,
 * tokens × a configured price, else none — an unknown cost is null, never 0 (design §8).
 */
import { z } from 'zod';
import { nanoUsdPerUsd, type Price } from '../config.ts';
import type { CostSource } from '../ledger/entry.ts';

export type Usage = {
  inputTokens: number | null;
  outputTokens: number | null;
  cachedTokens: number | null;
  reasoningTokens: number | null;
  costNanoUsd: number | null;
  costSource: CostSource;
};

export const noUsage: Usage = {
  inputTokens: null,
  outputTokens: null,
  cachedTokens: null,
  reasoningTokens: null,
  costNanoUsd: null,
  costSource: 'none',
};

/** Of a call that was sent, and of which no whole answer came. */
export const unansweredUsage: Usage = { ...noUsage, costSource: 'unanswered' };

const count = z.number().int().nonnegative().nullish().catch(null);
const usageShape = z.object({
  usage: z.object({
    prompt_tokens: count,
    completion_tokens: count,
    cost_usd: z.number().nonnegative().nullish().catch(null),
    prompt_tokens_details: z.object({ cached_tokens: count }).nullish().catch(null),
    completion_tokens_details: z.object({ reasoning_tokens: count }).nullish().catch(null),
  }),
});

type Told = Partial<z.infer<typeof usageShape>['usage']>;

/** USD per million tokens is nano USD per thousandth of a token: × 1000 gives nano USD per token. */
const nanoUsdPerTokenAtOneUsdPerMTok = nanoUsdPerUsd / 1e6;

export function costOf(price: Price, inputTokens: number, outputTokens: number): number {
  return Math.round(
    (inputTokens * price.inputUsdPerMTok + outputTokens * price.outputUsdPerMTok) * nanoUsdPerTokenAtOneUsdPerMTok,
  );
}

export type PriceSources = {
  /** The provider's own figure in a header (`X-CM-Cost`, USD), where there is one. */
  header?: string | undefined;
  listing: Price | null;
  configured: Price | null;
};

/**
 * Reads `usage` of a completion; prices are those of the model that answered, where known. A cost that the provider names
 * beside it holds without `usage`, too.
 */
export function usageOf(json: unknown, prices: PriceSources): Usage {
  const parsed = usageShape.safeParse(json);
  const usage: Told = parsed.success ? parsed.data.usage : {};
  const inputTokens = usage.prompt_tokens ?? null;
  const outputTokens = usage.completion_tokens ?? null;
  const tokens = {
    inputTokens,
    outputTokens,
    cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? null,
    reasoningTokens: usage.completion_tokens_details?.reasoning_tokens ?? null,
  };
  const toldUsd = usage.cost_usd ?? usdIn(prices.header);
  const told = toldUsd === null ? null : toldUsd * nanoUsdPerUsd;
  // Nobody's completion costs millions: a figure that no longer fits an exact integer is not believed.
  if (told !== null && told <= Number.MAX_SAFE_INTEGER) {
    return { ...tokens, costNanoUsd: Math.round(told), costSource: 'provider' };
  }
  const price = prices.listing ?? prices.configured;
  const reckoned = price && inputTokens !== null && outputTokens !== null && costOf(price, inputTokens, outputTokens);
  if (typeof reckoned !== 'number' || !Number.isSafeInteger(reckoned)) {
    return { ...tokens, costNanoUsd: null, costSource: 'none' };
  }
  return { ...tokens, costNanoUsd: reckoned, costSource: prices.listing ? 'listing' : 'configured' };
}

function usdIn(header: string | undefined): number | null {
  const usd = header === undefined || header.trim() === '' ? Number.NaN : Number(header.replace(/^\s*\$/, ''));
  return Number.isFinite(usd) && usd >= 0 ? usd : null;
}
