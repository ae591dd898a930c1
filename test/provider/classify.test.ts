import { describe, expect, test } from 'vitest';
import type { Answer } from '../../src/provider/answer.ts';
import { classify } from '../../src/provider/classify.ts';
import { ledgerOutcomeOf, type Outcome } from '../../src/provider/outcome.ts';

/** 2026-03-14, in the middle of a month. */
const nowMs = Date.UTC(2026, 2, 14, 12);
const nextMonthMs = Date.UTC(2026, 3, 1);

type Http = Extract<Answer, { tag: 'http' }>;

function http(status: number, body: unknown, headers: Record<string, string> = {}): Http {
  return {
    tag: 'http',
    status,
    headers,
    body: typeof body === 'string' ? body : JSON.stringify(body),
    durationMs: 12,
  };
}

/** An answer with the documented envelope. */
const error = (status: number, message: string, fields: object = {}, headers: Record<string, string> = {}) =>
  http(status, { error: { message, ...fields } }, headers);

const read = (answer: Answer, redact?: (text: string) => string): Outcome =>
  classify('privatemind', answer, { nowMs, ...(redact && { redact }) });

/** What an outcome does, in short: tag, and reason or waiting time where it has one. */
function short(outcome: Outcome): string {
  if ('reason' in outcome) return `${outcome.tag} ${outcome.reason}`;
  if ('retryAfterMs' in outcome && outcome.retryAfterMs !== null) return `${outcome.tag} ${outcome.retryAfterMs}`;
  return outcome.tag;
}

const completion = { choices: [{ index: 0, message: { role: 'assistant', content: 'Rhine' } }] };
const html = (title: string) => `<!DOCTYPE html>\n<html><head><title>${title}</title></head></html>`;
const rateLimited = { type: 'rate_limit_error', code: 'rpm_exceeded' };
const inSeconds = (seconds: number) => new Date(nowMs + seconds * 1000).toUTCString();

// One row for each line of the answer table: what comes, what it does, the code that is kept.
const table: [string, Answer, string, string?][] = [
  ['200 with choices', http(200, completion), 'complete'],
  ['200 with choices and no error', http(200, { ...completion, error: null }), 'complete'],
  ['200 with an error', error(200, 'upstream died', { code: 502 }), 'retry', '502'],
  [
    '200 with an error beside choices',
    http(200, { ...completion, error: { message: 'cut off' } }),
    'retry',
    'error_in_200',
  ],
  ['200 with an error that is a text', http(200, { error: 'upstream died' }), 'retry', 'error_in_200'],
  ['200 with an error that may not be retried', error(200, 'no', { retryable: false }), 'reject', 'error_in_200'],
  ['200 without a body', http(200, ''), 'retry', 'empty_answer'],
  ['200 with white space', http(200, ' \n'), 'retry', 'empty_answer'],
  ['200 without choices', http(200, { choices: [] }), 'retry', 'empty_answer'],
  ['200 with a choice that is none', http(200, { choices: [null] }), 'retry', 'empty_answer'],
  ['200 with a list', http(200, []), 'retry', 'empty_answer'],
  ['200 with null', http(200, 'null'), 'retry', 'empty_answer'],
  ['200 with half a body', http(200, JSON.stringify(completion).slice(0, 40)), 'retry', 'garbled_answer'],
  ['200 with a web page', http(200, html('Welcome')), 'retry', 'garbled_answer'],
  ['204', http(204, ''), 'retry', 'http_204'],

  ['400 bad JSON', error(400, 'The body is not valid JSON', { code: 'invalid_json' }), 'reject', 'invalid_json'],
  [
    '400 unknown model',
    error(400, 'Unknown model: deep', { code: 'model_not_found' }),
    'model_unavailable',
    'model_not_found',
  ],
  ['400 parameter', error(400, 'Unsupported parameter: top_k', { code: 'unsupported_parameter' }), 'reject'],
  ['400 without a body', http(400, ''), 'reject', 'http_400'],
  ['400 with a quota’s code', error(400, 'Over', { code: 'budget_exceeded' }), 'org_retired org_exhausted'],
  ['400 with a key’s quota', error(400, 'Over', { code: 'key_budget_exceeded' }), 'key_retired exhausted'],
  ['400 thinking budget', error(400, 'Too much', { code: 'thinking_budget_exceeded' }), 'reject'],
  ['400 with a bad key’s code', error(400, 'API key not valid', { code: 'invalid_api_key' }), 'key_retired invalid'],

  [
    '401 header missing',
    error(401, 'Missing Authorization header', { code: 'invalid_api_key' }),
    'key_retired invalid',
  ],
  ['401 half a token', error(401, 'Incomplete API key'), 'key_retired invalid', 'http_401'],
  ['401 revoked', error(401, 'API key revoked', { code: 'key_revoked' }), 'key_retired revoked', 'key_revoked'],
  ['401 revoked, in words', error(401, 'This key was revoked.'), 'key_retired revoked'],
  ['401 expired', error(401, 'API key expired', { code: 'key_expired' }), 'key_retired expired'],
  ['401 code against words', error(401, 'Expired or revoked', { code: 'key_expired' }), 'key_retired expired'],
  ['401 rotated', error(401, 'Use the new key', { code: 'key_rotated' }), 'key_retired rotated'],
  ['401 trial', error(401, 'Trial over', { code: 'trial_token_expired' }), 'key_retired trial_ended'],
  ['401 suspended', error(401, 'Suspended', { code: 'org_suspended' }), 'org_retired suspended'],
  ['401 suspended, in words', error(401, 'Your organization is suspended'), 'org_retired suspended'],
  ['401 without a body', http(401, ''), 'key_retired invalid', 'http_401'],

  [
    '402 key cap',
    error(402, 'Key budget exhausted', { type: 'billing_error', code: 'budget_exceeded' }),
    'key_retired exhausted',
  ],
  [
    '402 organisation',
    error(402, 'Organization budget exhausted', { code: 'budget_exceeded' }),
    'org_retired org_exhausted',
  ],
  [
    '402 organisation, by code',
    error(402, 'Key blocked', { code: 'org_budget_exceeded' }),
    'org_retired org_exhausted',
  ],
  ['402 key, by code', error(402, 'Budget exhausted', { code: 'key_budget_exceeded' }), 'key_retired exhausted'],
  ['402 without a body', http(402, ''), 'org_retired org_exhausted', 'http_402'],

  ['403 model', error(403, 'Model not allowed for this API key', { code: 'model_not_allowed' }), 'model_unavailable'],
  ['403 bare', error(403, 'Forbidden'), 'model_unavailable', 'http_403'],
  ['403 personal data', error(403, 'Blocked', { code: 'pii_detected' }), 'reject', 'pii_detected'],
  ['403 injection', error(403, 'Blocked', { code: 'prompt_injection_detected' }), 'reject'],
  ['403 policy, in words', error(403, 'The request violates the content policy of this model'), 'reject'],
  ['403 address', error(403, 'This IP address is not in the allowlist'), 'key_retired invalid'],
  ['403 scope', error(403, 'The key lacks the scope chat:write'), 'key_retired invalid'],
  ['403 suspended', error(403, 'The account is suspended'), 'org_retired suspended'],
  ['403 of a firewall', http(403, html('Attention Required!')), 'retry', 'http_403'],
  ['403 without a body', http(403, ''), 'retry', 'http_403'],

  ['404 model', error(404, 'Model no longer available: deep', { code: 'model_not_found' }), 'model_unavailable'],
  ['404 model, no code', error(404, 'The model `deep` does not exist'), 'model_unavailable', 'http_404'],
  ['404 in the envelope', error(404, 'Not found'), 'model_unavailable'],
  ['404 path', error(404, 'Not found: POST /v2/chat/completions', { code: 'not_found' }), 'misconfigured', 'not_found'],
  ['404 HTML', http(404, html('404 Not Found')), 'misconfigured', 'http_404'],
  ['404 without a body', http(404, ''), 'misconfigured'],
  ['405', error(405, 'Method Not Allowed'), 'misconfigured'],
  ['407', http(407, html('Proxy Authentication Required')), 'misconfigured'],
  ['408', http(408, ''), 'retry', 'http_408'],
  ['410', error(410, 'Gone'), 'model_unavailable'],
  ['413', error(413, 'The body is too large', { code: 'body_too_large' }), 'reject'],
  ['422', error(422, 'Invalid', { code: 'validation_error' }), 'reject'],
  ['425', http(425, ''), 'retry'],

  ['429 rate', error(429, 'Rate limit exceeded', rateLimited), 'rate_limited', 'rpm_exceeded'],
  ['429 without a body', http(429, ''), 'rate_limited', 'http_429'],
  ['429 HTML', http(429, html('Too Many Requests')), 'rate_limited', 'http_429'],
  ['429 Retry-After', error(429, 'Rate', rateLimited, { 'retry-after': '7' }), 'rate_limited 7000'],
  ['429 quota code', error(429, 'Over', { code: 'insufficient_quota' }), 'org_retired org_exhausted'],
  [
    '429 quota type',
    error(429, 'Over', { type: 'insufficient_quota' }),
    'org_retired org_exhausted',
    'insufficient_quota',
  ],
  ['429 plan', error(429, 'Over', { code: 'plan_limit_exceeded' }), 'org_retired org_exhausted'],
  ['429 credit', error(429, 'Over', { code: 'credit_balance_exhausted' }), 'org_retired org_exhausted'],
  ['429 spend limit', error(429, 'Over', { code: 'project_spend_limit_exceeded' }), 'org_retired org_exhausted'],
  ['429 worded as a quota', error(429, 'Insufficient quota, wait', rateLimited), 'rate_limited'],
  ['429 typed as a quota', error(429, 'Wait', { type: 'insufficient_quota', code: 'rpm_exceeded' }), 'rate_limited'],

  ['500', error(500, 'Internal error'), 'retry', 'http_500'],
  ['502 HTML', http(502, html('502 Bad Gateway')), 'retry', 'http_502'],
  ['503', error(503, 'Overloaded', { code: 'overloaded' }, { 'retry-after': '2' }), 'retry 2000', 'overloaded'],
  ['503 with a model’s code', error(503, 'No channel for model x', { code: 'model_not_found' }), 'retry'],
  ['504', http(504, ''), 'retry'],
  ['5xx not retryable', error(502, 'Refused upstream', { code: 'upstream', retryable: false }), 'reject', 'upstream'],
  ['5xx retryable', error(500, 'Again', { retryable: true }), 'retry'],
  ['418', error(418, 'Teapot'), 'reject'],

  ['301', http(301, '', { location: 'https://example.com/v1' }), 'misconfigured', 'http_301'],
  ['307', http(307, ''), 'misconfigured'],

  ...['timeout', 'connect', 'reset', 'cut', 'too_large', 'aborted'].map((code): [string, Answer, string, string] => [
    `failure: ${code}`,
    { tag: 'failure', code, message: 'broken', durationMs: 5 },
    'retry',
    code,
  ]),
];

test.each(table)('%s', (_, answer, expected, code) => {
  const outcome = read(answer);
  expect(short(outcome)).toBe(expected);
  if (code !== undefined) expect(outcome).toMatchObject({ code });
});

describe('a waiting time', () => {
  const waits: [string, Record<string, string>, number | null][] = [
    ['in seconds', { 'retry-after': '3' }, 3000],
    ['of none', { 'retry-after': '0' }, 0],
    ['in parts of a second', { 'retry-after': '0.25' }, 250],
    ['rounded up to a millisecond', { 'retry-after': '0.0001' }, 1],
    ['as an HTTP date', { 'retry-after': inSeconds(90) }, 90_000],
    ['as a date that is over', { 'retry-after': inSeconds(-90) }, 0],
    ['as a Unix time', { 'retry-after': String(nowMs / 1000 + 5) }, 5000],
    ['in milliseconds', { 'retry-after-ms': '1500' }, 1500],
    ['in both: the finer one wins', { 'retry-after-ms': '1500', 'retry-after': '2' }, 1500],
    ['with an unreadable finer one', { 'retry-after-ms': 'soon', 'retry-after': '2' }, 2000],
    ['of a year: no timer holds that', { 'retry-after': '31536000' }, 86_400_000],
    ['that is empty', { 'retry-after': '', 'retry-after-ms': '' }, null],
    ['that is negative', { 'retry-after': '-5' }, null],
    ['in words', { 'retry-after': 'in 5 minutes' }, null],
    ['that is absent', {}, null],
  ];
  test.each(waits)('%s', (_, headers, retryAfterMs) => {
    expect(read(error(429, 'Rate limit exceeded', rateLimited, headers))).toMatchObject({ retryAfterMs });
    expect(read(error(503, 'Overloaded', {}, headers))).toMatchObject({ tag: 'retry', retryAfterMs });
  });

  test('of an exhausted organisation is the next month, of a quota what the server says', () => {
    expect(read(error(402, 'Organization budget exhausted'))).toMatchObject({ backInMs: nextMonthMs - nowMs });
    expect(read(error(402, 'Key budget exhausted'))).toMatchObject({ backInMs: null });
    const quota = { code: 'insufficient_quota' };
    expect(read(error(429, 'Over', quota))).toMatchObject({ backInMs: null });
    expect(read(error(429, 'Over', quota, { 'retry-after': '60' }))).toMatchObject({ backInMs: 60_000 });
  });

  test('of an organisation exhausted in December is January', () => {
    const answer = error(402, 'Organization budget exhausted');
    const outcome = classify('privatemind', answer, { nowMs: Date.UTC(2026, 11, 31, 23, 59) });
    expect(outcome).toMatchObject({ backInMs: 60_000 });
  });
});

describe('the words of a 400', () => {
  test.each([
    'max_tokens exceeds the context length of model deep',
    'Invalid value for max_tokens: it exceeds the context of model deep',
    'This model’s maximum context length is 8192 tokens; your request has 9000',
    'Unknown parameter top_k for model deep',
    'Invalid parameter for model deep: top_k',
    'Invalid model parameter: temperature',
    'The parameter tools is not supported by model deep',
    'Model deep does not support the parameter response_format',
    'response_format is not available for this model',
    'Model deep: image input is not available',
    'reasoning_effort: unknown value for this model',
    'The model produced invalid content',
    'messages[0].role: the first message may not be the assistant’s',
    'Invalid content: "what is an unknown model of car? the model does not exist"',
    'Tool `model` not found',
    'stop takes at most 4 values for any model that is available',
    '',
  ])('“%s” is about the request', (message) => {
    expect(read(error(400, message)).tag).toBe('reject');
  });

  test.each([
    'Unknown model: deep-v5',
    'Invalid model',
    'invalid model ID',
    'Unsupported model deep-v5',
    'No such model: deep-v5',
    'No model found for "deep-v5"',
    'deep-v5 is not a valid model ID',
    'deep-v5 is not a chat model',
    'embed-small does not answer chat completions',
    'Model deep-v5 not found',
    'Model not found: deep/v5.1',
    'The model `deep-v5` does not exist or you do not have access to it.',
    'The model doesn’t exist',
    'You do not have access to model deep-v5',
    'Model no longer available: deep-v3',
    'Model deep-v3.1 has been retired; use deep-v4',
    'The requested model is being migrated',
    'The requested model "deep-v5" is currently not available in your region',
    'Model deep-v5 is not available for this organization',
    'Invalid value for "model": expected an id',
    'model_not_found',
  ])('“%s” is about the model', (message) => {
    expect(read(error(400, message)).tag).toBe('model_unavailable');
  });

  test('count less than its code', () => {
    const length = error(400, 'Unknown model limit', { code: 'context_length_exceeded', param: 'model' });
    expect(read(length).tag).toBe('reject');
    expect(read(error(400, 'max_tokens is fine', { code: 'unknown_model' })).tag).toBe('model_unavailable');
    expect(read(error(400, 'Try another', { code: 'model_token_limit' })).tag).toBe('reject');
  });

  test('count together with the field that is to blame', () => {
    expect(read(error(400, 'Not acceptable', { param: 'model' })).tag).toBe('model_unavailable');
    expect(read(error(400, 'It takes no images', { param: 'model' })).tag).toBe('reject');
    expect(read(error(400, 'Expected one of a, b', { param: 'messages' })).tag).toBe('reject');
  });
});

describe('the words of a 402', () => {
  test.each([
    'Key budget exhausted',
    'Key "team-account" budget exhausted',
    'Key team-a budget exhausted',
    'Key budget exhausted. Ask your organization to raise its budget.',
    'Key budget exhausted; contact an account administrator',
    'The API key has reached its spending limit',
    'The monthly budget of this key is exhausted',
    'The key’s budget is used up; the owner of the workspace can raise it',
  ])('“%s” is about the key', (message) => {
    expect(short(read(error(402, message, { code: 'budget_exceeded' })))).toBe('key_retired exhausted');
  });

  test.each([
    'Organization budget exhausted',
    'Organisation budget exhausted',
    'Organization budget exhausted: this key can no longer be used',
    'The budget of your organization is exhausted; the key’s budget is not',
    'This key’s organization has reached its budget',
    'Organization acme has reached its limit, key blocked',
    'User budget exhausted for key team-a',
    'Budget exhausted',
    'Payment required',
  ])('“%s” is about the organisation', (message) => {
    expect(short(read(error(402, message, { code: 'budget_exceeded' })))).toBe('org_retired org_exhausted');
  });
});

describe('a 404 of something that is not the API', () => {
  test.each([
    ['nginx', html('404 Not Found')],
    ['Kong', { message: 'no Route matched with those values' }],
    ['FastAPI', { detail: 'Not Found' }],
    ['Spring', { timestamp: '2026-03-14', status: 404, error: 'Not Found', path: '/chat/completions' }],
    ['Fastify', { statusCode: 404, error: 'Not Found', message: 'Route POST:/chat/completions not found' }],
    ['Express', 'Cannot POST /chat/completions'],
    ['Traefik', '404 page not found'],
    ['OpenAI, a wrong path', { error: { message: 'Invalid URL (POST /models/chat)', type: 'invalid_request_error' } }],
  ])('%s stops the batch', (_, body) => {
    expect(read(http(404, body)).tag).toBe('misconfigured');
  });

  test.each([
    ['in an envelope that is a text', { success: false, error: 'Model deep not found' }],
    ['without an envelope', { detail: 'The model deep does not exist' }],
    [
      'that names an endpoint, too',
      { error: { message: 'This is not a chat model and thus not supported in the v1/chat/completions endpoint.' } },
    ],
    ['with odd fields beside it', { error: { message: ['a'], code: 'model_not_found', retryable: 'no' } }],
  ])('is told from a missing model %s', (_, body) => {
    expect(read(http(404, body)).tag).toBe('model_unavailable');
  });
});

describe('what is kept of an answer', () => {
  const secret = `PMIND${'A'.repeat(27)}:${'0123456789abcdef'.repeat(4)}`;
  const redact = (text: string) => text.replaceAll(secret, '[key team-a]').replaceAll(secret.slice(33), '[key team-a]');

  test('is the provider’s message, redacted and capped', () => {
    const outcome = read(error(400, `Bad key ${secret}. ${'x'.repeat(5000)}`), redact);
    expect(outcome).toMatchObject({ message: expect.stringMatching(/^Bad key \[key team-a\]\. x+$/) });
    expect((outcome as { message: string }).message).toHaveLength(1000);
  });

  test('never holds a secret that the cap would cut in two', () => {
    for (let before = 60; before < 200; before += 1) {
      const { message } = read(http(502, '.'.repeat(before) + secret.slice(33)), redact) as { message: string };
      expect(message).not.toMatch(/0123456789/);
    }
  });

  test('never holds half of a character', () => {
    for (const padding of ['', ' ']) {
      const { message } = read(error(400, padding + '🦉'.repeat(2000))) as { message: string };
      expect(message.isWellFormed()).toBe(true);
    }
  });

  test('is a code that is a word, whatever the provider puts there', () => {
    const code = `${secret} Something\n{went} WRONG ${'x'.repeat(200)}`;
    const outcome = read(error(400, 'no', { code }), redact) as { code: string };
    expect(outcome.code).toMatch(/^_key_team-a_something_went_wrong_x+$/);
    expect(outcome.code).toHaveLength(64);
    expect(read(error(400, 'no', { type: 'Invalid_Request' }))).toMatchObject({ code: 'invalid_request' });
  });

  test('says what came instead of an error', () => {
    expect(read(http(502, html('Bad Gateway')))).toMatchObject({ message: expect.stringContaining('an HTML page') });
    expect(read(http(503, ''))).toMatchObject({ message: 'HTTP 503 with an empty body' });
    expect(read(http(301, '', { location: 'https://example.com/' }))).toMatchObject({
      message: 'HTTP 301, a redirect to https://example.com/',
    });
    const long = read(http(500, 'y'.repeat(100_000))) as { message: string };
    expect(long.message.length).toBeLessThan(300);
  });

  test('is taken from the JSON that the caller has read already', () => {
    const answer = http(200, completion);
    expect(classify('privatemind', answer, { nowMs, json: completion }).tag).toBe('complete');
  });
});

test('each outcome has its place in the ledger', () => {
  const rows: [Answer, string][] = [
    [http(200, completion), 'completed'],
    [error(422, 'Invalid'), 'rejected'],
    [error(503, 'Overloaded'), 'failed'],
    [http(404, ''), 'failed'],
    [error(429, 'Rate', rateLimited), 'rate_limited'],
    [error(402, 'Key budget exhausted'), 'exhausted'],
    [error(402, 'Organization budget exhausted'), 'exhausted'],
    [error(401, 'Revoked'), 'unauthorized'],
    [error(401, 'Organization suspended'), 'unauthorized'],
    [error(410, 'Gone'), 'model_unavailable'],
  ];
  for (const [answer, outcome] of rows) expect(ledgerOutcomeOf(read(answer))).toBe(outcome);
});

// A pattern that backtracks would need hours for these: the test's time limit is the assertion.
test('no message makes it think for long', { timeout: 20_000 }, () => {
  for (const piece of ['model ', 'model: ', 'key ', 'organization ', "'", '`', ' ', 'no ', 'invalid value for ', 'x']) {
    for (const status of [400, 402, 403, 404])
      expect(read(error(status, piece.repeat(500_000)))).toHaveProperty('message');
  }
});
