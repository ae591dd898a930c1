/**
 * The face of a provider that is OpenAI-shaped: `/v1/chat/completions` and `/v1/models` with a bearer key, rate headers
 * whose resets are durations, and no second names for models.
 */
import { createHash } from 'node:crypto';
import { nanoUsdOf } from './money.ts';
import type { Dialect, Route } from './dialect.ts';
import type { Model } from './catalogue.ts';
import type { Key } from './keyring.ts';
import { passedThrough } from './openai-rules.ts';
import { knows, wordsOf, type OpenaiSettings, type Words } from './openai-words.ts';
import { durationOf, rateOf, secondsOf } from './rates.ts';
import type { Refusal, Reply } from './refusal.ts';

const routes: ReadonlyMap<string, Route> = new Map([
  ['POST /v1/chat/completions', { to: 'completions' }],
  ['GET /v1/models', { to: 'models' }],
]);

export function createOpenai(settings: OpenaiSettings): Dialect {
  const isOpenrouter = settings.flavour === 'openrouter';
  const listPricing = settings.listPricing ?? isOpenrouter;

  const bodyOf = ({ status, type, code, message, limitSource }: Words, param?: string): object => {
    if (!isOpenrouter) return { error: { message, type, param: param ?? null, code } };
    return {
      error: { code: status, message, ...(limitSource !== undefined && { metadata: { limit_source: limitSource } }) },
    };
  };

  return {
    ...passedThrough,
    provider: 'openai',
    routeOf: (target) => routes.get(target),
    presented({ authorization }) {
      const token = /^Bearer (\S+)$/.exec(authorization ?? '')?.[1];
      return token === undefined ? { anonymous: true } : { token };
    },
    requireUpstreamKey: false,
    governs: false,
    dailyBudgets: false,
    streamComment: isOpenrouter ? ': OPENROUTER PROCESSING\n\n' : '',
    knows: (reason) => knows(reason, settings),
    refuse(refusal, { key, nowMs }): Reply {
      const said = wordsOf(refusal, settings);
      const message = messageOf(refusal, said.message);
      return {
        status: said.status,
        body: bodyOf({ ...said, message }, refusal.param),
        headers: {
          ...(key && refusal.reason === 'rate_limit' && rateHeaders(key, nowMs)),
          ...retryHeaders(refusal),
        },
      };
    },
    faultBody(fault, { status, message }) {
      // In the words of an answer that has begun, whose own status was 200: the upstream failed.
      const meant = status === 200 ? 502 : status;
      const code = settings.flavour === 'litellm' ? String(meant) : 'simulated_fault';
      return bodyOf({ status: meant, type: 'server_error', code: fault.code ?? code, message });
    },
    answerHeaders: (key, _costNanoUsd, nowMs) => rateHeaders(key, nowMs),
    listing: (models) => ({ object: 'list', data: models.map((model) => entryOf(model, listPricing)) }),
    requestIdHeader: 'x-request-id',
    requestIdPrefix: 'req_',
    createToken: (seed, name) => `sk-${createHash('sha256').update(`${seed}:${name}`).digest('hex').slice(0, 48)}`,
    environment: (baseUrl, tokens) => ({ OPENAI_BASE_URL: baseUrl, OPENAI_API_KEYS: tokens.join(',') }),
  };
}

function messageOf({ reason, message, value }: Refusal, usual: string): string {
  // It echoes a part of the key.
  if (reason === 'unknown_token') return `${usual}: ${String(value).slice(0, 8)}***${String(value).slice(-4)}`;
  return message ?? usual;
}

/** Resets are the time until the limit is as if nothing had been sent. */
function rateHeaders(key: Key, nowMs: number): Record<string, string> {
  const headers: Record<string, string> = {};
  const rates = { requests: rateOf(key.requests, key.rpm, nowMs), tokens: rateOf(key.tokens, key.tpm, nowMs) };
  for (const [what, rate] of Object.entries(rates)) {
    if (!rate) continue;
    headers[`x-ratelimit-limit-${what}`] = String(rate.limit);
    headers[`x-ratelimit-remaining-${what}`] = String(rate.remaining);
    headers[`x-ratelimit-reset-${what}`] = durationOf(rate.emptyInMs);
  }
  return headers;
}

function retryHeaders({ retryAfterMs }: Refusal): Record<string, string> {
  if (retryAfterMs === undefined || retryAfterMs === null) return {};
  return { 'retry-after-ms': String(Math.ceil(retryAfterMs)), 'retry-after': String(secondsOf(retryAfterMs)) };
}

function entryOf({ id, owned_by, context_length, cost }: Model, withPricing: boolean): object {
  const entry = { id, object: 'model', created: 1_750_000_000, owned_by };
  if (!withPricing) return entry;
  const pricing = {
    prompt: usdPerToken(cost?.input_per_m_token ?? 0),
    completion: usdPerToken(cost?.output_per_m_token ?? 0),
  };
  return { ...entry, context_length, pricing };
}

/** As a decimal, exactly: billionths of a dollar per million tokens are 10^-15 dollars per token. */
function usdPerToken(usdPerMillion: number): string {
  const digits = String(nanoUsdOf(usdPerMillion)).padStart(16, '0');
  const decimal = `${digits.slice(0, -15)}.${digits.slice(-15)}`;
  return decimal.replace(/\.?0+$/, '');
}
