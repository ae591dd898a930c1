/**
 * The Curate-Me gateway's face: its key beside the upstream provider's, its paths with the provider's name in them, its
 * headers for cost and rates, and errors in either of its two shapes. What is not refused goes to an upstream that is
 * OpenAI-shaped, and comes back unchanged.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { approvalsSchema } from './approvals.ts';
import { newerBody, olderBody, words, type Words } from './curate-me-words.ts';
import type { Dialect, Route } from './dialect.ts';
import type { Fault } from './faults.ts';
import type { Key } from './keyring.ts';
import { usdOf } from './money.ts';
import { passedThrough } from './openai-rules.ts';
import { rateOf, secondsOf, type Rate } from './rates.ts';
import type { Refusal, RefusalContext, Reply } from './refusal.ts';

/** It must look the same in a JSON body as in the prompt. */
const marker = z.string().regex(/^[ !#-[\]-~]+$/, 'expected printable ASCII without quotes and backslashes');

/** The fields of a scenario that only this provider has. */
export const curateMeFields = {
  errorShape: z.enum(['newer', 'older']).default('newer'),
  requireUpstreamKey: z.boolean().default(false),
  /** How a call without the upstream's key is refused, which is not documented. */
  upstreamKeyRefusal: z
    .strictObject({
      status: z.number().int().min(400).max(499).default(401),
      code: z.string().default('provider_key_missing'),
      message: z.string().default('No key for the upstream provider: send X-Provider-Key or store one'),
    })
    .prefault({}),
  /** The older pages name both. */
  olderPersonalDataStatus: z.union([z.literal(403), z.literal(422)]).default(403),
  /** Prompts that contain one of these are refused or held. */
  markers: z
    .strictObject({
      personalData: marker.default('[simulate: personal data]'),
      injection: marker.default('[simulate: injection]'),
      hold: marker.default('[simulate: hold]'),
      holdAndReject: marker.default('[simulate: hold and reject]'),
    })
    .prefault({}),
  approvals: approvalsSchema.prefault({}),
};
export type CurateMeSettings = z.output<z.ZodObject<typeof curateMeFields>>;

const fixedRoutes: ReadonlyMap<string, Route> = new Map([
  ['POST /v1/openai/chat/completions', { to: 'completions' }],
  ['GET /v1/models', { to: 'models' }],
  ['GET /v1/admin/me', { to: 'identity' }],
]);
const anyProvider = /^POST \/v1\/[a-z0-9_-]+\/chat\/completions$/;
const approvalStatus = /^GET \/v1\/approvals\/([^/]+)\/status$/;

export function createCurateMe(settings: CurateMeSettings): Dialect {
  const isNewer = settings.errorShape === 'newer';

  /** Reset: seconds left in the newer shape, a Unix time in the older. */
  const rateHeaders = ({ limit, remaining }: Rate, resetInMs: number, nowMs: number): Record<string, string> => {
    const prefix = isNewer ? 'RateLimit' : 'X-RateLimit';
    const reset = secondsOf(isNewer ? resetInMs : nowMs + resetInMs);
    return {
      [`${prefix}-Limit`]: String(limit),
      [`${prefix}-Remaining`]: String(remaining),
      [`${prefix}-Reset`]: String(reset),
    };
  };

  const wordsFor = (refusal: Refusal): Words =>
    refusal.reason === 'upstream_key_missing' ? settings.upstreamKeyRefusal : words[refusal.reason]!;

  const olderStatus = (said: Words, refusal: Refusal): number =>
    refusal.reason === 'personal_data' ? settings.olderPersonalDataStatus : (said.older?.status ?? said.status);

  const refuse = (refusal: Refusal, { requestId, nowMs, key }: RefusalContext): Reply => {
    const said = wordsFor(refusal);
    const waitMs = refusal.retryAfterMs ?? null;
    const isRate = refusal.reason === 'rate_limit';
    const rate = isRate && key ? rateFor(key, refusal, nowMs) : null;
    const retryAfterSeconds = waitMs === null ? null : secondsOf(waitMs);
    const headers = {
      ...(rate && rateHeaders(rate, waitMs ?? rate.growsInMs, nowMs)),
      ...(retryAfterSeconds !== null && { 'Retry-After': String(retryAfterSeconds) }),
    };
    const status = isNewer ? said.status : olderStatus(said, refusal);
    const resetAtMs = waitMs === null ? null : nowMs + waitMs;
    const body = isNewer
      ? newerBody(said, refusal, requestId, isRate ? { retryAfterSeconds, resetAtMs, rate } : null)
      : olderBody(said, status, refusal);
    return { status, body, headers };
  };

  return {
    ...passedThrough,
    provider: 'curate-me',
    routeOf(target) {
      const fixed = fixedRoutes.get(target);
      if (fixed) return fixed;
      if (anyProvider.test(target)) return { to: 'completions' };
      const approvalId = approvalStatus.exec(target)?.[1];
      return approvalId === undefined ? undefined : { to: 'approval', approvalId };
    },
    presented(headers) {
      const own = headers['x-cm-api-key'];
      const bearer = headers.authorization?.startsWith('Bearer ')
        ? headers.authorization.slice('Bearer '.length)
        : null;
      const token = typeof own === 'string' ? own : bearer;
      if (token === null) return { anonymous: true };
      if (!/^cm_sk_\S+$/.test(token)) return { refusal: { reason: 'malformed_token', message: echo(token) } };
      const hasUpstreamKey = headers['x-provider-key'] !== undefined || (own !== undefined && bearer !== null);
      return { token, hasUpstreamKey };
    },
    requireUpstreamKey: settings.requireUpstreamKey,
    governs: true,
    dailyBudgets: true,
    streamComment: '',
    knows: (reason) =>
      reason === 'upstream_key_missing' || (reason in words && (reason !== 'request_cost' || !isNewer)),
    refuse: (refusal, context) =>
      refuse(
        refusal.reason === 'unknown_token' ? { ...refusal, message: echo(String(refusal.value)) } : refusal,
        context,
      ),
    faultBody(fault, { status, message, requestId }) {
      const error = { message, ...failureOf(fault, status) };
      if (isNewer) return { error: { ...error, request_id: `req_${requestId}` } };
      return { error: { ...error, type: 'server_error', param: null } };
    },
    answerHeaders(key, costNanoUsd, nowMs) {
      const { budgetNanoUsd, spentNanoUsd } = key.org.purse;
      const rate = rateOf(key.requests, key.rpm, nowMs);
      return {
        ...(costNanoUsd !== null && { 'X-CM-Cost': usdText(costNanoUsd) }),
        'X-CM-Daily-Cost': usdText(spentNanoUsd),
        ...(budgetNanoUsd !== null && { 'X-CM-Daily-Budget': usdText(budgetNanoUsd) }),
        ...(rate && rateHeaders(rate, rate.growsInMs, nowMs)),
      };
    },
    // The schema is not documented: OpenAI's list, with something more in it.
    listing: (models) => ({
      object: 'list',
      data: models.map(({ id, owned_by, context_length }) => ({
        id,
        object: 'model',
        created: 1_750_000_000,
        owned_by,
        provider: 'openai',
        context_window: context_length,
        status: 'active',
      })),
    }),
    identity: ({ org }) => ({ org_id: org.name, plan: 'simulated', status: 'active' }),
    requestIdHeader: 'X-CM-Request-ID',
    requestIdPrefix: 'gw_',
    createToken: (seed, name) => `cm_sk_${createHash('sha256').update(`${seed}:${name}`).digest('hex').slice(0, 48)}`,
    environment: (baseUrl, tokens) => ({ CM_BASE_URL: baseUrl, CM_API_KEYS: tokens.join(',') }),
  };
}

/** Messages can echo a part of the key: so do these. */
function echo(token: string): string {
  return `Invalid API key: ${token.slice(0, 12)}…`;
}

function rateFor(key: Key, { window }: Refusal, nowMs: number): Rate | null {
  return window === 'tokens' ? rateOf(key.tokens, key.tpm, nowMs) : rateOf(key.requests, key.rpm, nowMs);
}

type Failure = { code: string; source: string; provider: string; provider_status: number | null; retryable: boolean };

const failures: Record<number, Pick<Failure, 'code' | 'source' | 'provider_status'>> = {
  500: { code: 'internal_error', source: 'gateway', provider_status: null },
  503: { code: 'circuit_open', source: 'gateway', provider_status: null },
  504: { code: 'upstream_timeout', source: 'provider', provider_status: null },
};
const usualFailure = { code: 'upstream_error', source: 'provider', provider_status: 500 };
/** The gateway's own retry policy, which leaves out 500. */
const retryableStatuses = new Set([200, 502, 503, 504]);

function failureOf(fault: Fault, status: number): Failure | { code: string } {
  if (status >= 400 && status < 500) return { code: fault.code ?? 'simulated_fault' };
  const usual = failures[status] ?? usualFailure;
  return {
    ...usual,
    code: fault.code ?? usual.code,
    provider: 'openai',
    retryable: fault.retryable ?? retryableStatuses.has(status),
  };
}

/** Never in exponents. */
function usdText(nanoUsd: number): string {
  return usdOf(nanoUsd).toFixed(9);
}
