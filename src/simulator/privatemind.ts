/**
 * PrivateMind's face: its paths under /v1, its bearer tokens, its listing and its refusals. The 402 and 429 bodies are
 * the documented ones, without Retry-After and without rate headers; of the other refusals only the status is
 * documented, their bodies follow OpenAI's shape.
 */
import { createHash } from 'node:crypto';
import type { Dialect, Route } from './dialect.ts';
import { usdOf } from './money.ts';
import type { RefusalReason } from './refusal.ts';
import { reasoningEfforts } from './request.ts';

type Words = { status: number; type: string; code: string; message: string };

const invalidRequest = 'invalid_request_error';
const authentication = 'authentication_error';

const words: Partial<Record<RefusalReason, Words>> = {
  missing_token: {
    status: 401,
    type: authentication,
    code: 'invalid_api_key',
    message: 'Missing Authorization header: expected "Bearer <access_key_id>:<secret>"',
  },
  half_token: {
    status: 401,
    type: authentication,
    code: 'invalid_api_key',
    message: 'Incomplete API key: expected "<access_key_id>:<secret>", the whole string with the colon',
  },
  unknown_token: { status: 401, type: authentication, code: 'invalid_api_key', message: 'Invalid API key' },
  key_revoked: { status: 401, type: authentication, code: 'key_revoked', message: 'API key revoked' },
  key_expired: { status: 401, type: authentication, code: 'key_expired', message: 'API key expired' },
  invalid_json: { status: 400, type: invalidRequest, code: 'invalid_json', message: 'The body is not valid JSON' },
  invalid_request: { status: 400, type: invalidRequest, code: 'invalid_request', message: 'Invalid request' },
  body_too_large: { status: 413, type: invalidRequest, code: 'body_too_large', message: 'The body is too large' },
  unknown_model: { status: 400, type: invalidRequest, code: 'model_not_found', message: 'Unknown model' },
  removed_model: { status: 404, type: invalidRequest, code: 'model_not_found', message: 'Model no longer available' },
  not_a_chat_model: { status: 400, type: invalidRequest, code: 'model_not_chat', message: 'Not a chat model' },
  model_not_allowed: {
    status: 403,
    type: 'permission_error',
    code: 'model_not_allowed',
    message: 'Model not allowed for this API key',
  },
  unsupported_parameter: {
    status: 400,
    type: invalidRequest,
    code: 'unsupported_parameter',
    message: 'Unsupported parameter',
  },
  context_length: {
    status: 400,
    type: invalidRequest,
    code: 'context_length_exceeded',
    message: 'Prompt and max_tokens together exceed the context length',
  },
  key_budget: { status: 402, type: 'billing_error', code: 'budget_exceeded', message: 'Key budget exhausted' },
  org_budget: {
    status: 402,
    type: 'billing_error',
    code: 'org_budget_exceeded',
    message: 'Organization budget exhausted',
  },
  rate_limit: { status: 429, type: 'rate_limit_error', code: 'rpm_exceeded', message: 'Rate limit exceeded' },
  unknown_path: { status: 404, type: invalidRequest, code: 'not_found', message: 'Not found' },
};

const routes: ReadonlyMap<string, Route> = new Map([
  ['POST /v1/chat/completions', { to: 'completions' }],
  ['GET /v1/models', { to: 'models' }],
  ['GET /v1/usage', { to: 'usage' }],
]);

const alphanumerics = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** `orgCap`: the words of the organisation's 402, which are not documented. */
export function createPrivatemind(orgCap: { code: string; message: string }): Dialect {
  return {
    provider: 'privatemind',
    routeOf: (target) => routes.get(target),
    requestIdHeader: 'x-request-id',
    requestIdPrefix: '',
    requireUpstreamKey: false,
    governs: false,
    rules: {
      accepts: new Set(),
      strictMessages: true,
      efforts: new Map(reasoningEfforts.map((effort) => [effort, effort])),
    },
    hasAliases: true,
    openListing: true,
    dailyBudgets: false,
    usageOnFinishChunk: true,
    costInUsage: true,
    streamComment: '',
    answerHeaders: null,
    knows: (reason) => reason in words,
    presented({ authorization }) {
      if (authorization === undefined) return { anonymous: true };
      if (!authorization.startsWith('Bearer ')) return { refusal: { reason: 'missing_token' } };
      const token = authorization.slice('Bearer '.length);
      return token.includes(':') ? { token } : { refusal: { reason: 'half_token' } };
    },
    refuse({ reason, message, param }) {
      const { status, type, code, message: usual } = words[reason]!;
      if (reason === 'org_budget')
        return { status, body: { error: { message: orgCap.message, type, code: orgCap.code } } };
      return { status, body: { error: { message: message ?? usual, type, code, ...(param && { param }) } } };
    },
    faultBody: (_fault, { message }) => ({ error: { message, type: 'server_error', code: 'simulated_fault' } }),
    listing(models, { withCost }) {
      const data = models.map(({ cost, ...model }) => (withCost && cost ? { ...model, cost } : model));
      return { object: 'list', data };
    },
    usagePage(entries) {
      const data = entries.map((entry) => ({
        id: entry.id,
        model: entry.model,
        prompt_tokens: entry.promptTokens,
        cached_prompt_tokens: 0,
        completion_tokens: entry.completionTokens,
        cost_usd: usdOf(entry.costNanoUsd),
        latency_ms: Math.round(entry.latencyMs),
        status_code: entry.statusCode,
        created_at: new Date(entry.createdAtMs).toISOString(),
        metadata: null,
      }));
      return { success: true, data };
    },
    createToken(seed, name) {
      const id = createHash('sha256').update(`id:${seed}:${name}`).digest().subarray(0, 27);
      const secret = createHash('sha256').update(`secret:${seed}:${name}`).digest('hex');
      return `PMIND${[...id].map((byte) => alphanumerics[byte % alphanumerics.length]).join('')}:${secret}`;
    },
    environment: (baseUrl, tokens) => ({ PMIND_BASE_URL: baseUrl, PMIND_KEYS: tokens.join(',') }),
  };
}
