/**
 * What each answer does (design: the answer table). Pure: an answer in, an Outcome out; the first row that fits wins.
 * Order of trust: structured code, then waiting time, then status, then wording — rows that trust more stand first.
 */
import type { ProviderKind } from '../config.ts';
import { errorOf, parseJson, retryAfterMs, type Answer, type ErrorBody } from './answer.ts';
import type { Outcome, RetireReason } from './outcome.ts';
import { profileOf } from './profile.ts';

type Seen = {
  kind: ProviderKind;
  status: number;
  error: ErrorBody | null;
  retryAfterMs: number | null;
  nowMs: number;
  cause: { code: string; message: string };
};

type Row = { name: string; fits: (seen: Seen) => boolean; outcome: (seen: Seen) => Outcome };

const says = (seen: Seen, pattern: RegExp) => pattern.test(seen.error?.message ?? '');
const hasCode = (seen: Seen, pattern: RegExp) => pattern.test(seen.error?.code ?? '');

const retire = (seen: Seen, reason: RetireReason): Outcome => ({
  tag: 'key_retired',
  reason,
  untilMs: null,
  ...seen.cause,
});
const retireOrg = (seen: Seen, reason: RetireReason, untilMs: number | null): Outcome => ({
  tag: 'org_retired',
  reason,
  untilMs,
  ...seen.cause,
});

/** A quota that waiting seconds does not refill, although it may come as 429. */
const quotaCode = /^(insufficient_quota|plan_limit_exceeded|.*(budget|spend_limit|credit_balance).*)$/;
const aboutOrganisation = /organi[sz]ation|\borg\b|account|workspace|team/i;

const rows: Row[] = [
  // 401: each kind by name, all of them this key's alone.
  {
    name: '401 suspended',
    fits: (s) => s.status === 401 && hasCode(s, /suspended/),
    outcome: (s) => retireOrg(s, 'suspended', null),
  },
  {
    name: '401 revoked',
    fits: (s) => s.status === 401 && (hasCode(s, /revoked/) || says(s, /revoked/i)),
    outcome: (s) => retire(s, 'revoked'),
  },
  {
    name: '401 expired',
    fits: (s) => s.status === 401 && (hasCode(s, /expired/) || says(s, /expired/i)),
    outcome: (s) => retire(s, 'expired'),
  },
  { name: '401 other', fits: (s) => s.status === 401, outcome: (s) => retire(s, 'invalid') },

  // 402. The code of PrivateMind's organisation cap is unknown: whatever does not name the key is taken for it,
  // because going on after an organisation's cap is the costlier mistake.
  {
    name: '402 key cap',
    fits: (s) => s.status === 402 && says(s, /\bkey\b/i) && !says(s, aboutOrganisation),
    outcome: (s) => retire(s, 'exhausted'),
  },
  {
    name: '402 organisation cap',
    fits: (s) => s.status === 402,
    outcome: (s) => retireOrg(s, 'org_exhausted', profileOf(s.kind).orgBudgetResetMs(s.nowMs)),
  },

  // 429.
  {
    name: '429 quota',
    fits: (s) => s.status === 429 && (hasCode(s, quotaCode) || s.error?.type === 'insufficient_quota'),
    outcome: (s) => retireOrg(s, 'org_exhausted', null),
  },
  {
    name: '429 rate',
    fits: (s) => s.status === 429,
    outcome: (s) => ({ tag: 'rate_limited', retryAfterMs: s.retryAfterMs, ...s.cause }),
  },

  // The model: as 400, 403, 404 or 410.
  {
    name: '400 unknown model',
    fits: (s) =>
      s.status === 400 &&
      (hasCode(s, /model/) ||
        says(s, /model\b.*\b(not found|not exist|unknown|invalid|available)|(unknown|invalid|no such)\b.*\bmodel/i)),
    outcome: (s) => ({ tag: 'model_unavailable', ...s.cause }),
  },
  {
    name: '403 policy',
    fits: (s) =>
      s.status === 403 &&
      (hasCode(s, /pii|injection|policy|moderation|content/) || says(s, /policy|personal data|injection/i)),
    outcome: (s) => ({ tag: 'reject', ...s.cause }),
  },
  { name: '403 model', fits: (s) => s.status === 403, outcome: (s) => ({ tag: 'model_unavailable', ...s.cause }) },
  // The provider's own envelope on a path that exists: the model is gone. Anything else: not this API at all.
  {
    name: '404 model',
    fits: (s) => s.status === 404 && s.error !== null && !says(s, /\b(path|url|route|endpoint)\b/i),
    outcome: (s) => ({ tag: 'model_unavailable', ...s.cause }),
  },
  { name: '404 path', fits: (s) => s.status === 404, outcome: (s) => ({ tag: 'misconfigured', ...s.cause }) },
  {
    name: '410 model retired',
    fits: (s) => s.status === 410,
    outcome: (s) => ({ tag: 'model_unavailable', ...s.cause }),
  },

  // The server's own word about trying again beats the status.
  {
    name: 'not retryable',
    fits: (s) => s.status >= 500 && s.error?.retryable === false,
    outcome: (s) => ({ tag: 'reject', ...s.cause }),
  },
  {
    name: '5xx',
    fits: (s) => s.status >= 500,
    outcome: (s) => ({ tag: 'retry', retryAfterMs: s.retryAfterMs, ...s.cause }),
  },
  {
    name: '408, 425',
    fits: (s) => s.status === 408 || s.status === 425,
    outcome: (s) => ({ tag: 'retry', retryAfterMs: s.retryAfterMs, ...s.cause }),
  },
  {
    name: 'redirect',
    fits: (s) => s.status >= 300 && s.status < 400,
    outcome: (s) => ({ tag: 'misconfigured', ...s.cause }),
  },
  { name: '4xx', fits: (s) => s.status >= 400, outcome: (s) => ({ tag: 'reject', ...s.cause }) },
  // 2xx without choices: an error in a 200, an empty or garbled answer.
  {
    name: '2xx without an answer',
    fits: () => true,
    outcome: (s) => ({ tag: 'retry', retryAfterMs: s.retryAfterMs, ...s.cause }),
  },
];

const longestMessage = 1000;

/**
 * `json` is the parsed body where the caller has it (undefined: no JSON). `redact` cleans the provider's words.
 * Source: providers.md §1 (status map), design §5.
 */
export function classify(
  kind: ProviderKind,
  answer: Answer,
  options: { nowMs: number; json?: unknown; redact?: (text: string) => string },
): Outcome {
  const clean = (text: string) => (options.redact?.(text) ?? text).slice(0, longestMessage);
  if (answer.tag === 'failure') {
    return { tag: 'retry', retryAfterMs: null, code: answer.code, message: clean(answer.message) };
  }
  const json = options.json ?? parseJson(answer.body);
  if (answer.status === 200 && hasChoices(json)) return { tag: 'complete' };
  const error = errorOf(json);
  const seen: Seen = {
    kind,
    status: answer.status,
    error,
    retryAfterMs: retryAfterMs(answer.headers, options.nowMs),
    nowMs: options.nowMs,
    cause: { code: codeOf(answer, error, json), message: clean(messageOf(answer, error)) },
  };
  const row = rows.find(({ fits }) => fits(seen)) as Row;
  return row.outcome(seen);
}

function hasChoices(json: unknown): boolean {
  if (typeof json !== 'object' || json === null) return false;
  if ('error' in json && json.error) return false;
  return 'choices' in json && Array.isArray(json.choices) && json.choices.length > 0;
}

function codeOf(answer: Answer & { tag: 'http' }, error: ErrorBody | null, json: unknown): string {
  if (error?.code) return error.code;
  if (error?.type) return error.type;
  if (answer.status !== 200) return `http_${answer.status}`;
  if (error) return 'error_in_200';
  return json === undefined ? 'garbled_answer' : 'empty_answer';
}

function messageOf(answer: Answer & { tag: 'http' }, error: ErrorBody | null): string {
  if (error?.message) return error.message;
  const body = answer.body.trim();
  if (body === '') return `HTTP ${answer.status} with an empty body`;
  const kind = /^<(!doctype|html)/i.test(body) ? 'an HTML page' : 'an unexpected body';
  return `HTTP ${answer.status} with ${kind}: ${body.slice(0, 200)}`;
}
