/** The answer table for the Curate-Me gateway, in both of its error shapes, and for whatever else is OpenAI-shaped. */
import { describe, expect, test } from 'vitest';
import type { ProviderKind } from '../../src/config.ts';
import type { Answer } from '../../src/provider/answer.ts';
import { classify } from '../../src/provider/classify.ts';

/** 2026-03-14, 12:00 UTC. */
const nowMs = Date.UTC(2026, 2, 14, 12);
const tomorrow = 'until +12h';

function answer(status: number, error: object | null, headers: Record<string, string> = {}, rest: object = {}): Answer {
  return { tag: 'http', status, headers, body: JSON.stringify({ ...(error && { error }), ...rest }), durationMs: 1 };
}

/** `key_retired revoked`, `org_retired org_exhausted until +12h`, `rate_limited 7000`, … */
function read(kind: ProviderKind, given: Answer): string {
  const outcome = classify(kind, given, { nowMs });
  const parts: string[] = [outcome.tag];
  if ('reason' in outcome) parts.push(outcome.reason);
  if ('approvalId' in outcome) parts.push(outcome.approvalId);
  if ('backInMs' in outcome && outcome.backInMs !== null) parts.push(`until +${outcome.backInMs / 3_600_000}h`);
  if ('retryAfterMs' in outcome && outcome.retryAfterMs !== null) parts.push(String(outcome.retryAfterMs));
  return parts.join(' ');
}

const budget = { governance_stage: 'budget', limit_usd: 10, current_spend_usd: 10.2 };

describe('Curate-Me', () => {
  test.each<[string, Answer, string]>([
    ['401 invalid', answer(401, { code: 'invalid_api_key', message: 'x' }), 'key_retired invalid'],
    ['401 revoked', answer(401, { code: 'api_key_revoked', message: 'x' }), 'key_retired revoked'],
    ['401 trial', answer(401, { code: 'trial_token_expired', message: 'x' }), 'key_retired trial_ended'],
    ['401 rotated', answer(401, { code: 'key_rotated', message: 'x' }), 'key_retired rotated'],
    ['401 suspended', answer(401, { code: 'org_suspended', message: 'x' }), 'org_retired suspended'],
    ['403 by address', answer(403, { code: 'GW_AUTH_004', message: 'not allowed' }), 'key_retired invalid'],
    [
      '402 daily limit',
      answer(402, { code: 'daily_limit_exceeded', message: 'x', ...budget }),
      `org_retired org_exhausted ${tomorrow}`,
    ],
    ['402 key', answer(402, { code: 'key_budget_exceeded', message: 'x', ...budget }), 'key_retired exhausted'],
    [
      '402 team',
      answer(402, { code: 'team_budget_exceeded', message: 'x', ...budget }),
      `org_retired org_exhausted ${tomorrow}`,
    ],
    [
      'older: 403 daily',
      answer(403, { code: 'daily_budget', type: 'budget_error', message: 'x' }),
      `org_retired org_exhausted ${tomorrow}`,
    ],
    [
      'older: 403 monthly',
      answer(403, { code: 'monthly_budget', type: 'budget_error', message: 'x' }),
      'org_retired org_exhausted until +420h',
    ],
    ['older: 403 cost of one request', answer(403, { code: 'cost_per_request', message: 'x' }), 'reject'],
    [
      '429 rate, the body first',
      answer(429, { code: 'rate_limit_exceeded', message: 'x', retry_after: 7, limit: 60 }, { 'retry-after': '9' }),
      'rate_limited 7000',
    ],
    [
      '429 rate, its reset before its seconds',
      answer(429, { code: 'rate_limit_exceeded', message: 'x', retry_after: 7, reset_at: nowMs / 1000 + 3 }),
      'rate_limited 3000',
    ],
    [
      '429 rate by header',
      answer(429, { code: 'rate_limit_exceeded', message: 'x' }, { 'retry-after': '9' }),
      'rate_limited 9000',
    ],
    ['older: 429 rate', answer(429, { code: '429', type: 'rate_limit_error', message: 'x' }), 'rate_limited'],
    ['429 plan', answer(429, { code: 'plan_limit_exceeded', message: 'x' }), `org_retired org_exhausted ${tomorrow}`],
    ['429 quota by type', answer(429, { type: 'insufficient_quota', message: 'x' }), 'org_retired org_exhausted'],
    ['202 held, by body', answer(202, null, {}, { approval_id: 'ap_1' }), 'held ap_1'],
    ['202 held, by header', answer(202, null, { 'x-cm-approval-id': 'ap_2' }), 'held ap_2'],
    ['202 without an approval', answer(202, null), 'retry'],
    ['403 personal data', answer(403, { code: 'pii_detected', message: 'x', governance_stage: 'pii' }), 'reject'],
    ['403 injection', answer(403, { code: 'prompt_injection_detected', message: 'x' }), 'reject'],
    ['older: 403 pii_scan', answer(403, { code: 'pii_scan', message: 'x' }), 'reject'],
    ['older: 422 personal data', answer(422, { code: 'pii_detected', message: 'x' }), 'reject'],
    ['403 model allowlist', answer(403, { code: 'model_not_allowed', message: 'x' }), 'model_unavailable'],
    ['410 model retired', answer(410, { code: 'model_retired', message: 'x' }), 'model_unavailable'],
    ['413', answer(413, { code: 'request_too_large', message: 'x' }), 'reject'],
    ['422', answer(422, { code: 'validation_error', message: 'x', errors: [{ field: 'f', message: 'm' }] }), 'reject'],
    ['502 retryable', answer(502, { code: 'upstream', source: 'provider', message: 'x', retryable: true }), 'retry'],
    ['502 not retryable', answer(502, { code: 'upstream', message: 'x', retryable: false }), 'reject'],
    ['503 circuit', answer(503, { code: 'circuit_open', message: 'x' }, { 'retry-after': '5' }), 'retry 5000'],
    ['504', answer(504, { code: 'timeout', message: 'x' }), 'retry'],
  ])('%s', (_, given, expected) => {
    expect(read('curate-me', given)).toBe(expected);
  });

  test('a 422 names each field that is wrong', () => {
    const errors = [{ field: 'messages', message: 'too short', value: [] }];
    const outcome = classify('curate-me', answer(422, { code: 'validation_error', message: 'Invalid', errors }), {
      nowMs,
    });
    expect(outcome).toMatchObject({ message: 'Invalid; messages: too short' });
  });
});

describe('OpenAI-shaped', () => {
  const inFlight = { limit_source: 'openrouter_in_flight_budget' };
  test.each<[string, Answer, string]>([
    ['429 quota', answer(429, { code: 'insufficient_quota', message: 'x' }), 'org_retired org_exhausted'],
    ['429 balance', answer(429, { code: 'credit_balance_exhausted', message: 'x' }), 'org_retired org_exhausted'],
    [
      '429 organisation',
      answer(429, { code: 'organization_spend_limit_exceeded', message: 'x' }),
      'org_retired org_exhausted',
    ],
    ['429 project', answer(429, { code: 'project_spend_limit_exceeded', message: 'x' }), 'org_retired org_exhausted'],
    ['LiteLLM, as 400', answer(400, { code: 'budget_exceeded', message: 'x' }), 'org_retired org_exhausted'],
    [
      'LiteLLM, by its type',
      answer(400, { code: '400', type: 'budget_exceeded', message: 'x' }),
      'org_retired org_exhausted',
    ],
    ['LiteLLM, as 429', answer(429, { code: 'budget_exceeded', message: 'x' }), 'org_retired org_exhausted'],
    [
      'OpenRouter credits',
      answer(402, { code: 402, message: 'x', metadata: { limit_source: 'openrouter_credits' } }),
      'org_retired org_exhausted',
    ],
    [
      'OpenRouter key',
      answer(402, { code: 402, message: 'x', metadata: { limit_source: 'openrouter_key_limit' } }),
      'key_retired exhausted',
    ],
    [
      'OpenRouter in flight',
      answer(402, { code: 402, message: 'x', metadata: inFlight }, { 'retry-after': '2' }),
      'snooze 2000',
    ],
    ['an error inside a 200', answer(200, { code: 502, message: 'x' }), 'retry'],
    [
      '429 rate in ms',
      answer(429, { code: 'rate_limit_exceeded', message: 'x' }, { 'retry-after-ms': '150' }),
      'rate_limited 150',
    ],
    // The code is trusted, not the words.
    [
      'a rate worded as quota',
      answer(429, {
        code: 'rate_limit_exceeded',
        type: 'insufficient_quota',
        message: 'insufficient quota per minute',
      }),
      'rate_limited',
    ],
    ['concurrency by code', answer(429, { code: 'concurrency_limit_exceeded', message: 'x' }), 'too_many_at_once'],
    [
      'concurrency by words',
      answer(429, { message: 'Too many concurrent requests: insufficient quota' }),
      'too_many_at_once',
    ],
    ['404 model', answer(404, { code: 'model_not_found', message: 'x' }), 'model_unavailable'],
  ])('%s', (_, given, expected) => {
    expect(read('openai', given)).toBe(expected);
  });
});
