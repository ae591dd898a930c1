import * as fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { costOf, noUsage, usageOf } from '../../src/provider/usage.ts';

const listing = { inputUsdPerMTok: 0.5, outputUsdPerMTok: 1.1 };
const configured = { inputUsdPerMTok: 3, outputUsdPerMTok: 15 };
const noPrices = { listing: null, configured: null };
const allPrices = { listing, configured };
const answer = (usage: unknown) => ({ choices: [{}], usage });
const tokens = { prompt_tokens: 1000, completion_tokens: 200, total_tokens: 1200 };

describe('the cost of an answer', () => {
  test.each([
    ['the provider’s own figure', { ...tokens, cost_usd: 0.004213 }, allPrices, 4_213_000, 'provider'],
    ['the provider’s 0', { ...tokens, cost_usd: 0 }, allPrices, 0, 'provider'],
    ['the provider’s figure without tokens', { cost_usd: 0.01 }, noPrices, 10_000_000, 'provider'],
    ['tokens × the listing’s price', tokens, allPrices, 720_000, 'listing'],
    ['tokens × the configured price', tokens, { listing: null, configured }, 6_000_000, 'configured'],
    ['nothing, where no price is known', tokens, noPrices, null, 'none'],
    ['nothing, where the output is not counted', { prompt_tokens: 1000 }, allPrices, null, 'none'],
    ['nothing, where the input is not counted', { completion_tokens: 200 }, allPrices, null, 'none'],
    ['a price’s, where the figure is null', { ...tokens, cost_usd: null }, allPrices, 720_000, 'listing'],
    ['a price’s, where the figure is a text', { ...tokens, cost_usd: '0.1' }, allPrices, 720_000, 'listing'],
    ['a price’s, where the figure is negative', { ...tokens, cost_usd: -1 }, allPrices, 720_000, 'listing'],
    ['a price’s, where the figure is beyond belief', { ...tokens, cost_usd: 1e300 }, allPrices, 720_000, 'listing'],
    ['of no tokens is 0', { prompt_tokens: 0, completion_tokens: 0 }, allPrices, 0, 'listing'],
  ])('is %s', (_, usage, prices, costNanoUsd, costSource) => {
    expect(usageOf(answer(usage), prices)).toMatchObject({ costNanoUsd, costSource });
  });

  it('does not carry the noise of floats', () => {
    expect(usageOf(answer({ ...tokens, cost_usd: 0.1 + 0.2 }), noPrices).costNanoUsd).toBe(300_000_000);
    expect(usageOf(answer({ ...tokens, cost_usd: 4.35 * 100 * 1e-9 }), noPrices).costNanoUsd).toBe(435);
    const noisy = { inputUsdPerMTok: 0.30000000000000004, outputUsdPerMTok: 0.1 * 3 };
    expect(costOf(noisy, 7, 13)).toBe(6000);
  });

  it('is rounded to the nearest billionth of a dollar', () => {
    expect(usageOf(answer({ cost_usd: 1.4e-9 }), noPrices).costNanoUsd).toBe(1);
    expect(usageOf(answer({ cost_usd: 1.6e-9 }), noPrices).costNanoUsd).toBe(2);
    expect(costOf({ inputUsdPerMTok: 0.0004, outputUsdPerMTok: 0 }, 1, 0)).toBe(0);
    expect(costOf({ inputUsdPerMTok: 0.0006, outputUsdPerMTok: 0 }, 1, 0)).toBe(1);
  });

  it('is unknown rather than inexact', () => {
    const absurd = { inputUsdPerMTok: 1e12, outputUsdPerMTok: 1e12 };
    expect(usageOf(answer(tokens), { listing: absurd, configured: null })).toMatchObject({
      inputTokens: 1000,
      costNanoUsd: null,
      costSource: 'none',
    });
  });
});

describe('the tokens of an answer', () => {
  it('are taken with their details', () => {
    const details = {
      prompt_tokens_details: { cached_tokens: 64 },
      completion_tokens_details: { reasoning_tokens: 32 },
    };
    expect(usageOf(answer({ ...tokens, ...details }), noPrices)).toMatchObject({
      inputTokens: 1000,
      outputTokens: 200,
      cachedTokens: 64,
      reasoningTokens: 32,
    });
  });

  test.each([
    ['null details', { prompt_tokens_details: null, completion_tokens_details: null }],
    ['empty details', { prompt_tokens_details: {}, completion_tokens_details: {} }],
    ['details of another shape', { prompt_tokens_details: 5, completion_tokens_details: [] }],
    [
      'odd details',
      { prompt_tokens_details: { cached_tokens: -1 }, completion_tokens_details: { reasoning_tokens: 1.5 } },
    ],
  ])('are unknown where they cannot be read: %s', (_, details) => {
    expect(usageOf(answer({ ...tokens, ...details }), noPrices)).toMatchObject({
      inputTokens: 1000,
      outputTokens: 200,
      cachedTokens: null,
      reasoningTokens: null,
    });
  });

  test.each([{ prompt_tokens: '1000' }, { prompt_tokens: -1 }, { prompt_tokens: 1.5 }, { prompt_tokens: 1e300 }, {}])(
    'are unknown, not 0, where the count is none: %j',
    (usage) => {
      expect(usageOf(answer(usage), allPrices)).toEqual(noUsage);
    },
  );
});

test.each([undefined, null, 5, 'text', [], {}, { usage: null }, { usage: 'much' }, { usage: [] }])(
  'an answer without usage has none: %j',
  (json) => {
    expect(usageOf(json, allPrices)).toEqual(noUsage);
  },
);

test('a cost that a header names is known without usage', () => {
  for (const json of [answer(undefined), answer(null), answer('much')]) {
    const told = { ...noUsage, costNanoUsd: 12_300_000, costSource: 'provider' };
    expect(usageOf(json, { header: '0.0123', ...allPrices })).toEqual(told);
    for (const header of ['', 'free', '-1', '1e300']) expect(usageOf(json, { header, ...allPrices })).toEqual(noUsage);
  }
});

test('whatever comes, counts are whole numbers or null, and a cost has a source', () => {
  const anything = fc.oneof(
    fc.double(),
    fc.integer(),
    fc.constantFrom(null, undefined, '', '5', true),
    fc.maxSafeNat(),
  );
  const usage = fc.record(
    { prompt_tokens: anything, completion_tokens: anything, cost_usd: anything },
    { requiredKeys: [] },
  );
  const price = fc.option(
    fc.record({ inputUsdPerMTok: fc.double({ min: 0, max: 1e9, noNaN: true }), outputUsdPerMTok: fc.constant(2) }),
  );
  fc.assert(
    fc.property(usage, price, price, (raw, fromListing, fromConfig) => {
      const { costSource, ...counts } = usageOf(answer(raw), { listing: fromListing, configured: fromConfig });
      for (const count of Object.values(counts)) expect(count === null || Number.isSafeInteger(count)).toBe(true);
      expect(counts.costNanoUsd === null).toBe(costSource === 'none');
    }),
  );
});
