/**
 * Curate-Me's refusals, in both of its shapes. Its newer error pages and its older reference contradict each other; the
 * table holds the newer words, and `older` where the older ones differ. Where a code is not documented at all, it says
 * what the status means.
 */
import { usdOf } from './money.ts';
import type { Rate } from './rates.ts';
import type { Refusal, RefusalReason } from './refusal.ts';

export type ErrorShape = 'newer' | 'older';

export type Words = {
  status: number;
  code: string;
  message: string;
  type?: string;
  /** `governance_stage`: which of the gateway's checks it was. */
  stage?: string;
  older?: { status?: number; code?: string; type?: string; gatewayCode?: string };
};

const badKey = { status: 401, code: 'invalid_api_key' };
const budget = (code: string, olderCode: string, message: string): Words => ({
  status: 402,
  code,
  message,
  stage: 'budget',
  older: { status: 403, code: olderCode },
});

export const words: Partial<Record<RefusalReason, Words>> = {
  missing_token: { ...badKey, message: 'Missing API key: expected the header X-CM-API-Key' },
  malformed_token: { ...badKey, message: 'Invalid API key: expected cm_sk_… without spaces' },
  unknown_token: { ...badKey, message: 'Invalid API key' },
  // An expired key has no code of its own.
  key_expired: { ...badKey, message: 'API key expired' },
  key_revoked: { status: 401, code: 'api_key_revoked', message: 'This API key was revoked and cannot be reinstated' },
  key_rotated: { status: 401, code: 'key_rotated', message: 'This API key was rotated; use the new one' },
  trial_ended: { status: 401, code: 'trial_token_expired', message: 'The trial has ended' },
  org_suspended: { status: 401, code: 'org_suspended', message: 'The organization is suspended' },
  ip_not_allowed: {
    status: 403,
    code: 'GW_AUTH_004',
    message: 'IP address not in the allowlist of this key',
    older: { code: 'ip_not_allowed', gatewayCode: 'GW_AUTH_004' },
  },
  invalid_json: { status: 400, code: 'invalid_json', message: 'The body is not valid JSON' },
  invalid_request: { status: 422, code: 'validation_error', message: 'Request validation failed' },
  body_too_large: { status: 413, code: 'payload_too_large', message: 'The body is too large' },
  unknown_model: { status: 404, code: 'model_not_found', message: 'Unknown model' },
  removed_model: { status: 410, code: 'model_retired', message: 'The model is retired' },
  not_a_chat_model: { status: 400, code: 'model_not_chat', message: 'Not a chat model' },
  model_not_allowed: {
    status: 403,
    code: 'model_not_allowed',
    message: 'The model is not on the allowlist',
    stage: 'model_allowlist',
  },
  unsupported_parameter: { status: 400, code: 'unsupported_parameter', message: 'Unsupported parameter' },
  context_length: { status: 400, code: 'context_length_exceeded', message: 'The context length is exceeded' },
  personal_data: {
    status: 403,
    code: 'pii_detected',
    message: 'Personal data was found in the prompt',
    stage: 'pii_scan',
    older: { code: 'pii_scan' },
  },
  prompt_injection: {
    status: 403,
    code: 'prompt_injection_detected',
    message: 'The prompt looks like an injection',
    stage: 'prompt_injection',
  },
  // Only the older pages know it.
  request_cost: {
    ...budget('cost_per_request', 'cost_per_request', 'The request costs more than one may'),
    status: 403,
  },
  // The older pages know no budgets of keys, teams and sessions: what is not daily is monthly there.
  key_budget: budget('key_budget_exceeded', 'monthly_budget', 'The budget of this API key is spent'),
  session_budget: budget('session_budget_exceeded', 'monthly_budget', 'The budget of this session is spent'),
  team_budget: budget('team_budget_exceeded', 'monthly_budget', 'The budget of this team is spent'),
  org_budget: budget('daily_limit_exceeded', 'daily_budget', 'The daily limit is reached; it resets at 00:00 UTC'),
  plan_quota: {
    status: 429,
    code: 'plan_limit_exceeded',
    type: 'insufficient_quota',
    message: 'The daily request quota of your plan is used up',
  },
  rate_limit: {
    status: 429,
    code: 'rate_limit_exceeded',
    message: 'Rate limit exceeded',
    older: { code: '429', type: 'rate_limit_error' },
  },
  unknown_path: { status: 404, code: 'not_found', message: 'Not found' },
  unknown_approval: { status: 404, code: 'approval_not_found', message: 'No such approval' },
};

export type ToldRate = { retryAfterSeconds: number | null; resetAtMs: number | null; rate: Rate | null };

export function newerBody(said: Words, refusal: Refusal, requestId: string, told: ToldRate | null): object {
  const { code, type, stage, message } = said;
  const { purse, param, value } = refusal;
  return {
    error: {
      code,
      message: refusal.message ?? message,
      request_id: `req_${requestId}`,
      ...(type !== undefined && { type }),
      ...(stage !== undefined && { governance_stage: stage }),
      ...(purse && {
        limit_usd: usdOf(purse.budgetNanoUsd ?? 0),
        current_spend_usd: usdOf(purse.spentNanoUsd),
      }),
      ...(said.status === 422 && {
        errors: [{ field: param ?? 'body', message: refusal.message ?? message, value: value ?? null }],
      }),
      ...(told && told.retryAfterSeconds !== null && { retry_after: told.retryAfterSeconds }),
      ...(told?.rate && { limit: told.rate.limit, remaining: told.rate.remaining }),
      ...(told && told.resetAtMs !== null && { reset_at: new Date(told.resetAtMs).toISOString() }),
    },
  };
}

export function olderBody(said: Words, status: number, refusal: Refusal): object {
  const { older, code, type, message } = said;
  return {
    error: {
      message: refusal.message ?? message,
      type: older?.type ?? type ?? usualType(status),
      param: refusal.param ?? null,
      code: older?.code ?? code,
      ...(older?.gatewayCode !== undefined && { gateway_error_code: older.gatewayCode }),
    },
  };
}

function usualType(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error';
    case 403:
      return 'permission_error';
    case 429:
      return 'rate_limit_error';
    default:
      return status >= 500 ? 'server_error' : 'invalid_request_error';
  }
}
