/**
 * What differs from provider to provider: paths, how a key is presented, bodies of refusals and listings. The rest of
 * the simulator says *why* it refuses; the dialect says it in the provider's words.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { Model } from './catalogue.ts';
import type { UsageEntry } from './usage-log.ts';

export type RefusalReason =
  | 'missing_token'
  | 'half_token'
  | 'unknown_token'
  | 'key_revoked'
  | 'key_expired'
  | 'invalid_json'
  | 'invalid_request'
  | 'body_too_large'
  | 'unknown_model'
  | 'removed_model'
  | 'not_a_chat_model'
  | 'model_not_allowed'
  | 'unsupported_parameter'
  | 'context_length'
  | 'key_budget'
  | 'org_budget'
  | 'rate_limit'
  | 'unknown_path';

export type Refusal = {
  reason: RefusalReason;
  /** In place of the reason's usual message. */
  message?: string;
  /** The field of the request that is to blame. */
  param?: string;
};

export type Route = 'completions' | 'models' | 'usage';
export type Presented = { token: string } | { refusal: Refusal } | { anonymous: true };

export type Dialect = {
  readonly provider: string;
  /** `GET /path` → what it is. */
  readonly routes: ReadonlyMap<string, Route>;
  /** The token a request carries, whether or not it is any good. */
  presented(headers: IncomingHttpHeaders): Presented;
  refuse(refusal: Refusal): { status: number; body: object };
  listing(models: readonly Model[], options: { withCost: boolean }): object;
  usagePage(entries: readonly UsageEntry[]): object;
  requestIdHeader: string;
  /** A well-formed token, the same for the same seed and name. */
  createToken(seed: number, name: string): string;
  /** The environment variables that point a client here. */
  environment(baseUrl: string, tokens: readonly string[]): Record<string, string>;
};
