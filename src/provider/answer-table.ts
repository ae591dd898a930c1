/**
 * The answer table (design): what each answer means. The first row that fits wins. Order of trust: structured code, then
 * waiting time, then status, then wording; rows that trust more stand first.
 */
import type { ProviderKind } from '../config.ts';
import type { ErrorBody } from './answer.ts';
import type { Outcome, RetireReason } from './outcome.ts';
import { nextDayMs, nextMonthMs, profileOf } from './profile.ts';
import { blamesContent, blamesKeyBudget, blamesModel, blamesPath } from './wording.ts';

/** What the rows look at. */
export type Seen = {
  kind: ProviderKind;
  status: number;
  error: ErrorBody | null;
  /** By the body's word, else by the headers'. */
  retryAfterMs: number | null;
  nowMs: number;
  approvalId: string | null;
  cause: { code: string; message: string };
};

/** A time sooner than this is none: a zero, or a date gone by. Tried at once, the key would be refused without end. */
const soonestResetMs = 500;

type Row = { name: string; fits: (seen: Seen) => boolean; outcome: (seen: Seen) => Outcome };

const is = (seen: Seen, ...statuses: number[]) => statuses.includes(seen.status);
const says = (seen: Seen, pattern: RegExp) => pattern.test(seen.error?.message ?? '');
const hasCode = (seen: Seen, pattern: RegExp) => pattern.test(seen.error?.code ?? '');
const blames = (seen: Seen, what: (error: ErrorBody) => boolean) => seen.error !== null && what(seen.error);

const retire = (seen: Seen, reason: RetireReason, untilMs: number | null = null): Outcome => ({
  tag: 'key_retired',
  reason,
  backInMs: backIn(seen, untilMs),
  ...seen.cause,
});
const retireOrg = (seen: Seen, reason: RetireReason, untilMs: number | null): Outcome => ({
  tag: 'org_retired',
  reason,
  backInMs: backIn(seen, untilMs),
  ...seen.cause,
});
const backIn = ({ nowMs }: Seen, untilMs: number | null) =>
  untilMs === null ? null : Math.max(soonestResetMs, untilMs - nowMs);
const withCause = (tag: 'reject' | 'model_unavailable' | 'misconfigured') => (seen: Seen) => ({ tag, ...seen.cause });
const retry = (seen: Seen): Outcome => ({ tag: 'retry', retryAfterMs: seen.retryAfterMs, ...seen.cause });

/** A quota that waiting seconds does not refill, whatever status it comes with; not a model's thinking budget. */
const quotaCode =
  /^(insufficient_quota|plan_limit_exceeded|.*credit_balance.*|.*spend_limit.*|(?!.*(token|think|reason)).*budget.*)$/;
const rateCode = /rate|rpm|tpm|per_minute|concurren|too_many/;
const deadKeyCode = /^(invalid_api_key|(api_)?key_(invalid|revoked|expired|disabled|rotated))$/;

/** In this order: a trial's key expires too. */
const deadKeyReasons: [RegExp, RetireReason][] = [
  [/trial/i, 'trial_ended'],
  [/rotated/i, 'rotated'],
  [/revoked/i, 'revoked'],
  [/expired/i, 'expired'],
];

/** By its code; only where that says nothing, by its words. */
function deadKeyReason(seen: Seen): RetireReason {
  const byCode = deadKeyReasons.find(([pattern]) => hasCode(seen, pattern));
  const found = byCode ?? deadKeyReasons.find(([pattern]) => says(seen, pattern));
  return found?.[1] ?? 'invalid';
}

/** When an exhausted quota is refilled, by what the answer says of it; null when it does not say. */
function quotaReset(s: Seen): number | null {
  const toldMs = s.error?.retryAtMs ?? null;
  if (toldMs !== null && toldMs >= s.nowMs + soonestResetMs) return toldMs;
  if (hasCode(s, /month/)) return nextMonthMs(s.nowMs);
  if (hasCode(s, /daily|^plan_limit_exceeded$/)) return nextDayMs(s.nowMs);
  return s.retryAfterMs === null || s.retryAfterMs < soonestResetMs ? null : s.nowMs + s.retryAfterMs;
}

const orgReset = (s: Seen) => quotaReset(s) ?? profileOf(s.kind).orgBudgetResetMs(s.nowMs);

export const answerTable: Row[] = [
  // Not a completion and not a failure: held for a person's approval.
  {
    name: '202 held',
    fits: (s) => is(s, 202) && s.approvalId !== null,
    outcome: (s) => ({ ...s.cause, tag: 'held', approvalId: s.approvalId ?? '', code: 'held_for_approval' }),
  },
  {
    name: '401, 403 suspended',
    fits: (s) => is(s, 401, 403) && (hasCode(s, /suspended/) || says(s, /suspended/i)),
    outcome: (s) => retireOrg(s, 'suspended', null),
  },
  {
    name: '401, or a code that says the same',
    fits: (s) => is(s, 401) || (is(s, 400, 403) && hasCode(s, deadKeyCode)),
    outcome: (s) => retire(s, deadKeyReason(s)),
  },

  // A budget for calls in flight: it frees itself in a moment.
  {
    name: '402 in flight',
    fits: (s) => is(s, 402) && s.error?.limitSource === 'openrouter_in_flight_budget',
    outcome: (s) => ({ tag: 'snooze', retryAfterMs: s.retryAfterMs, ...s.cause }),
  },
  {
    name: '402 key cap by its source',
    fits: (s) => is(s, 402) && s.error?.limitSource === 'openrouter_key_limit',
    outcome: (s) => retire(s, 'exhausted', quotaReset(s)),
  },
  // One request dearer than a request may be: the key and its budgets are well.
  {
    name: 'cost per request',
    fits: (s) => is(s, 402, 403) && hasCode(s, /^cost_per_request/),
    outcome: withCause('reject'),
  },
  {
    name: '402 key cap',
    fits: (s) => is(s, 402) && blames(s, blamesKeyBudget),
    outcome: (s) => retire(s, 'exhausted', quotaReset(s)),
  },
  {
    name: '402 organisation cap',
    fits: (s) => is(s, 402),
    outcome: (s) => retireOrg(s, 'org_exhausted', orgReset(s)),
  },
  {
    name: 'a quota by its code',
    fits: (s) =>
      is(s, 400, 403, 429) &&
      (hasCode(s, quotaCode) ||
        // LiteLLM puts it there, and the status as the code.
        s.error?.type === 'budget_exceeded' ||
        (is(s, 429) && s.error?.type === 'insufficient_quota' && !hasCode(s, rateCode))),
    outcome: (s) =>
      hasCode(s, /key/) ? retire(s, 'exhausted', quotaReset(s)) : retireOrg(s, 'org_exhausted', quotaReset(s)),
  },
  // Worded as a quota by some, but about calls at once: fewer of them, and it passes.
  {
    name: '429 concurrency',
    fits: (s) => is(s, 429) && (hasCode(s, /concurren/) || says(s, /concurren|simultaneous|parallel requests/i)),
    outcome: (s) => ({ tag: 'too_many_at_once', retryAfterMs: s.retryAfterMs, ...s.cause }),
  },
  {
    name: '429 rate',
    fits: (s) => is(s, 429),
    outcome: (s) => ({ tag: 'rate_limited', retryAfterMs: s.retryAfterMs, ...s.cause }),
  },

  // The model: as 400, 403, 404 or 410.
  {
    name: '400 unknown model',
    fits: (s) => is(s, 400) && blames(s, blamesModel),
    outcome: withCause('model_unavailable'),
  },
  {
    name: '403 policy',
    fits: (s) => is(s, 403) && !hasCode(s, /model/) && blames(s, blamesContent),
    outcome: withCause('reject'),
  },
  // A firewall's page: about this text or about us, but not about the model.
  { name: '403 of a proxy', fits: (s) => is(s, 403) && s.error === null, outcome: retry },
  {
    name: '403 of the key itself',
    fits: (s) =>
      is(s, 403) && !blames(s, blamesModel) && (hasCode(s, /^gw_auth_/) || says(s, /\bIP\b|allow-?list|\bscopes?\b/i)),
    outcome: (s) => retire(s, 'invalid'),
  },
  { name: '403 model', fits: (s) => is(s, 403), outcome: withCause('model_unavailable') },
  // The API's own words on a path that exists: the model is gone. Anything else: not this API at all.
  {
    name: '404 model',
    fits: (s) => is(s, 404) && (blames(s, blamesModel) || (s.error?.enveloped === true && !blames(s, blamesPath))),
    outcome: withCause('model_unavailable'),
  },
  { name: '410 model retired', fits: (s) => is(s, 410), outcome: withCause('model_unavailable') },
  // A wrong path, a method it does not take, a proxy that wants a password: the same for every line.
  { name: '404 path, 405, 407', fits: (s) => is(s, 404, 405, 407), outcome: withCause('misconfigured') },
  { name: 'redirect', fits: (s) => s.status >= 300 && s.status < 400, outcome: withCause('misconfigured') },

  // The server's own word about trying again beats the status.
  {
    name: 'not retryable',
    fits: (s) => (s.status >= 500 || s.status < 300) && s.error?.retryable === false,
    outcome: withCause('reject'),
  },
  { name: '408, 425, 5xx', fits: (s) => is(s, 408, 425) || s.status >= 500, outcome: retry },
  { name: '4xx', fits: (s) => s.status >= 400, outcome: withCause('reject') },
  // 2xx without choices: an error in a 200, an empty or garbled answer.
  { name: '2xx without an answer', fits: () => true, outcome: retry },
];
