/** Money in integers: billionths of a US dollar. Prices come as USD per million tokens. */

export const nanoUsdPerUsd = 1e9;

export function nanoUsdOf(usd: number): number {
  return Math.round(usd * nanoUsdPerUsd);
}

/** The double nearest to the amount: rounding it back to billionths gives the same integer. */
export function usdOf(nanoUsd: number): number {
  return nanoUsd / nanoUsdPerUsd;
}

/** Half a billionth is rounded up. Big integers, because tokens × price can pass 2^53. */
export function priceOf(tokens: number, nanoUsdPerMillionTokens: number): number {
  return Number((BigInt(tokens) * BigInt(nanoUsdPerMillionTokens) + 500_000n) / 1_000_000n);
}
