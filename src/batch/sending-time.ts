/**
 * How long the limits of the keys hold a batch back: the time until its last request may be sent, at best. Pure. What
 * it leaves out — the provider's speed, retries, other users of the keys — only makes it longer.
 *
 * A sliding window admits its limit at once and then as much again per window, so with several keys that may serve the
 * same requests  Σ limit × (1 + t / window) ≥ demand  gives the time t. Models that only some keys offer may have to
 * queue there while others are idle: the time is the longest that any group of models needs on the keys it may use.
 */

export type Range = { low: number; high: number };

/** Per window; null: there is none. */
export type Limit = number | 'unknown' | null;

/** Of a key. Keys of one bucket share their limits. */
export type KeyLimits = {
  bucketId: string;
  windowMs: number;
  requests: Limit;
  tokens: Limit;
  /** The limit counts `max_tokens` in full (keys' `tpmCounts`). */
  countsRequested: boolean;
};

/** What one model is asked for, and the keys that offer it. */
export type Demand = {
  requests: number;
  tokens: Range;
  /** With answers as long as they may become. */
  requestedTokens: Range;
  keys: readonly KeyLimits[];
};

export type SendingTime = {
  /** Null: unknown. */
  ms: Range | null;
  /** What makes it take that long at most: `nothing` where all of it may be sent at once. */
  limitedBy: 'requests' | 'tokens' | 'nothing' | 'unknown';
};

/** Beyond this the groups of models are not all tried: only each of them, and all together. */
const mostGroups = 10;

export function sendingTime(demands: readonly Demand[]): SendingTime {
  const groups = groupByKeys(demands.filter(({ requests, keys }) => requests > 0 && keys.length > 0));
  if (groups.length === 0) return { ms: null, limitedBy: 'unknown' };
  let isUnknown = false;
  const longest = { requests: 0, tokensLow: 0, tokensHigh: 0 };
  for (const group of subsets(groups)) {
    const buckets = bucketsOf(group.flatMap(({ keys }) => keys));
    const sum = (of: (demand: Demand) => number) => group.reduce((total, demand) => total + of(demand), 0);
    const counted = buckets.some(({ countsRequested }) => countsRequested) ? 'requestedTokens' : 'tokens';
    const requests = timeOf(
      sum((demand) => demand.requests),
      buckets,
      'requests',
    );
    const low = timeOf(
      sum((demand) => demand[counted].low),
      buckets,
      'tokens',
    );
    const high = timeOf(
      sum((demand) => demand[counted].high),
      buckets,
      'tokens',
    );
    if (requests === null || low === null || high === null) isUnknown = true;
    longest.requests = Math.max(longest.requests, requests ?? 0);
    longest.tokensLow = Math.max(longest.tokensLow, low ?? 0);
    longest.tokensHigh = Math.max(longest.tokensHigh, high ?? 0);
  }
  if (isUnknown) return { ms: null, limitedBy: 'unknown' };
  const ms = {
    low: Math.max(longest.requests, longest.tokensLow),
    high: Math.max(longest.requests, longest.tokensHigh),
  };
  if (ms.high === 0) return { ms, limitedBy: 'nothing' };
  return { ms, limitedBy: longest.tokensHigh > longest.requests ? 'tokens' : 'requests' };
}

/** Null: unknown. */
function timeOf(demand: number, buckets: readonly KeyLimits[], what: 'requests' | 'tokens'): number | null {
  let atOnce = 0;
  let perMs = 0;
  let isUnknown = false;
  for (const bucket of buckets) {
    const limit = bucket[what];
    // One key without a limit takes everything.
    if (limit === null) return 0;
    if (limit === 'unknown') isUnknown = true;
    else {
      atOnce += limit;
      perMs += limit / bucket.windowMs;
    }
  }
  if (demand <= atOnce) return 0;
  return isUnknown || perMs === 0 ? null : (demand - atOnce) / perMs;
}

function bucketsOf(keys: readonly KeyLimits[]): KeyLimits[] {
  const buckets = new Map<string, KeyLimits>();
  for (const key of keys) {
    const known = buckets.get(key.bucketId);
    if (!known) buckets.set(key.bucketId, key);
    else {
      const requests = larger(known.requests, key.requests);
      const tokens = larger(known.tokens, key.tokens);
      const countsRequested = known.countsRequested || key.countsRequested;
      buckets.set(key.bucketId, { ...known, requests, tokens, countsRequested });
    }
  }
  return [...buckets.values()];
}

function larger(a: Limit, b: Limit): Limit {
  if (a === null || b === null) return null;
  return a === 'unknown' || b === 'unknown' ? 'unknown' : Math.max(a, b);
}

/** Models that the same keys offer are one demand. */
function groupByKeys(demands: readonly Demand[]): Demand[] {
  const groups = new Map<string, Demand>();
  for (const demand of demands) {
    const id = [...new Set(demand.keys.map(({ bucketId }) => bucketId))].toSorted().join('\n');
    const known = groups.get(id);
    groups.set(id, known ? { ...demand, ...addDemands(known, demand) } : demand);
  }
  return [...groups.values()];
}

function addDemands(a: Demand, b: Demand): Pick<Demand, 'requests' | 'tokens' | 'requestedTokens'> {
  return {
    requests: a.requests + b.requests,
    tokens: addRanges(a.tokens, b.tokens),
    requestedTokens: addRanges(a.requestedTokens, b.requestedTokens),
  };
}

export function addRanges(a: Range, b: Range): Range {
  return { low: a.low + b.low, high: a.high + b.high };
}

function* subsets(groups: readonly Demand[]): Generator<Demand[]> {
  if (groups.length > mostGroups) {
    for (const group of groups) yield [group];
    yield [...groups];
    return;
  }
  for (let mask = 1; mask < 1 << groups.length; mask += 1) {
    yield groups.filter((_, index) => (mask & (1 << index)) !== 0);
  }
}
