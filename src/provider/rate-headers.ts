/**
 * What response headers tell of a key's limit on requests per minute, where they do: `x-ratelimit-limit-requests`
 * (OpenAI), `RateLimit-Limit` and `X-RateLimit-Limit` (Curate-Me). Null when they name none, or one for another time
 * than a minute: a limit per day must not be taken for a limit per minute. Source: providers.md §2, §3.
 */

/** A reset further away than this belongs to a longer window. */
const longestResetSeconds = 61;
/** A bare number above this is a Unix time (providers.md §3). */
const earliestUnixTime = 1e9;

export function toldRpm(headers: Record<string, string>, nowMs: number): number | null {
  const limit = headers['x-ratelimit-limit-requests'] ?? headers['ratelimit-limit'] ?? headers['x-ratelimit-limit'];
  const rpm = Number(/^\s*(\d+)/.exec(limit ?? '')?.[1] ?? Number.NaN);
  if (!Number.isSafeInteger(rpm) || rpm < 1) return null;
  const window = /;\s*w=(\d+)/.exec(limit ?? '')?.[1];
  if (window !== undefined) return window === '60' ? rpm : null;
  const reset = headers['x-ratelimit-reset-requests'] ?? headers['ratelimit-reset'] ?? headers['x-ratelimit-reset'];
  const seconds = reset === undefined ? null : secondsIn(reset, nowMs);
  return seconds !== null && seconds <= longestResetSeconds ? rpm : null;
}

/** `12`, `1s`, `6m0s`, `12ms`, a Unix time; null when it is none of these. */
export function secondsIn(text: string, nowMs: number): number | null {
  const bare = /^\s*\d+(\.\d+)?\s*$/.test(text) ? Number(text) : null;
  if (bare !== null) return bare > earliestUnixTime ? bare - nowMs / 1000 : bare;
  const parts = /^\s*(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\s*$/.exec(text);
  if (!parts || parts.slice(1).every((part) => part === undefined)) return null;
  const [hours, minutes, seconds, ms] = parts.slice(1).map((part) => Number(part ?? 0));
  return (hours ?? 0) * 3600 + (minutes ?? 0) * 60 + (seconds ?? 0) + (ms ?? 0) / 1000;
}
