/**
 * Why a request is refused, in the simulator's own words. The dialect says it in the provider's: which status, which
 * code, which headers. A provider knows only some of these; a scenario that needs another one is refused.
 */
import type { Key } from './keyring.ts';
import type { Purse } from './purse.ts';

export const refusalReasons = [
  'missing_token',
  'half_token',
  'malformed_token',
  'unknown_token',
  'key_revoked',
  'key_expired',
  'key_rotated',
  'trial_ended',
  'org_suspended',
  'ip_not_allowed',
  'upstream_key_missing',
  'invalid_json',
  'invalid_request',
  'body_too_large',
  'unknown_model',
  'removed_model',
  'not_a_chat_model',
  'model_not_allowed',
  'unsupported_parameter',
  'context_length',
  'personal_data',
  'prompt_injection',
  'request_cost',
  'key_budget',
  'session_budget',
  'team_budget',
  'org_budget',
  'in_flight_budget',
  'plan_quota',
  'rate_limit',
  'concurrency',
  'unknown_path',
  'unknown_approval',
] as const;
export type RefusalReason = (typeof refusalReasons)[number];

export type Refusal = {
  reason: RefusalReason;
  /** In place of the reason's usual message. */
  message?: string;
  /** The field of the request that is to blame, and what stood there. */
  param?: string;
  value?: unknown;
  /** The budget that is spent. */
  purse?: Purse;
  /** Which of the windows is full. */
  window?: 'requests' | 'tokens';
  /** When there is room again; null: never, the request is larger than the limit. Left out: nobody knows. */
  retryAfterMs?: number | null;
};

/** What a refusal may have to say besides its reason. */
export type RefusalContext = {
  requestId: string;
  nowMs: number;
  /** Null for callers that could not be told apart. */
  key: Key | null;
};

export type Reply = { status: number; body: object; headers?: Record<string, string> };
