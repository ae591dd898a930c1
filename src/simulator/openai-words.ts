/**
 * Refusals of what is OpenAI-shaped, in three flavours. OpenAI says that money is gone with a 429; LiteLLM with a 400 or
 * a 429 of type `budget_exceeded`; OpenRouter with a 402 that names the limit, and its codes are numbers.
 */
import { z } from 'zod';
import { usdOf } from './money.ts';
import type { Purse } from './purse.ts';
import type { Refusal, RefusalReason } from './refusal.ts';

const quotaCodes = z.enum([
  'insufficient_quota',
  'credit_balance_exhausted',
  'organization_spend_limit_exceeded',
  'project_spend_limit_exceeded',
]);

/** The fields of a scenario that only this provider has. */
export const openaiFields = {
  flavour: z.enum(['openai', 'litellm', 'openrouter']).default('openai'),
  /** OpenAI's words for a spent budget, of a key and of the organisation. */
  quotaCodes: z
    .strictObject({
      key: quotaCodes.default('project_spend_limit_exceeded'),
      org: quotaCodes.default('insufficient_quota'),
    })
    .prefault({}),
  /** LiteLLM's status for a spent budget. */
  budgetStatus: z.union([z.literal(400), z.literal(429)]).default(429),
  /** Whether the listing carries prices, as strings of USD per token. Default: with the flavour `openrouter`. */
  listPricing: z.boolean().optional(),
  /** Words limits that pass by themselves (requests, tokens, concurrency) as "insufficient quota", as some do. */
  quotaWording: z.boolean().default(false),
};
export type OpenaiSettings = z.output<z.ZodObject<typeof openaiFields>>;

export type Words = {
  status: number;
  type: string;
  code: string | null;
  message: string;
  /** OpenRouter's `metadata.limit_source`. */
  limitSource?: string;
};

const invalidRequest = 'invalid_request_error';
const noSuchModel = { type: invalidRequest, code: 'model_not_found', message: 'The model does not exist' };
const badKey = { status: 401, type: invalidRequest, code: 'invalid_api_key' };

const plain: Partial<Record<RefusalReason, Words>> = {
  missing_token: {
    ...badKey,
    code: null,
    message: 'You did not provide an API key: expected "Authorization: Bearer …"',
  },
  unknown_token: { ...badKey, message: 'Incorrect API key provided' },
  key_revoked: { ...badKey, message: 'This API key was revoked' },
  key_expired: { ...badKey, message: 'This API key has expired' },
  invalid_json: { status: 400, type: invalidRequest, code: null, message: 'The body is not valid JSON' },
  invalid_request: { status: 400, type: invalidRequest, code: 'invalid_value', message: 'Invalid request' },
  body_too_large: { status: 413, type: invalidRequest, code: null, message: 'The body is too large' },
  unknown_model: { status: 404, ...noSuchModel },
  removed_model: { status: 404, ...noSuchModel },
  not_a_chat_model: { status: 404, type: invalidRequest, code: null, message: 'This is not a chat model' },
  model_not_allowed: { status: 403, ...noSuchModel, message: 'The project does not have access to the model' },
  unsupported_parameter: { status: 400, type: invalidRequest, code: 'unknown_parameter', message: 'Unknown parameter' },
  context_length: {
    status: 400,
    type: invalidRequest,
    code: 'context_length_exceeded',
    message: 'The context length is exceeded',
  },
  rate_limit: { status: 429, type: 'requests', code: 'rate_limit_exceeded', message: 'Rate limit reached' },
  concurrency: {
    status: 429,
    type: 'rate_limit_error',
    code: 'concurrency_limit_exceeded',
    message: 'Too many concurrent requests',
  },
  unknown_path: { status: 404, type: invalidRequest, code: 'unknown_url', message: 'Not found' },
};

export function knows(reason: RefusalReason, { flavour }: OpenaiSettings): boolean {
  if (reason === 'in_flight_budget') return flavour === 'openrouter';
  return reason in plain || reason === 'key_budget' || reason === 'org_budget';
}

export function wordsOf({ reason, window, purse }: Refusal, settings: OpenaiSettings): Words {
  if (reason === 'key_budget' || reason === 'org_budget') {
    return budgetWords(reason === 'key_budget' ? 'key' : 'org', purse, settings);
  }
  if (reason === 'in_flight_budget') {
    return outOfCredits('openrouter_in_flight_budget', 'Too much is being spent by requests in flight');
  }
  const said = plain[reason]!;
  if (reason !== 'rate_limit' && reason !== 'concurrency') return said;
  return { ...said, type: window ?? said.type, message: settings.quotaWording ? 'Insufficient quota' : said.message };
}

function budgetWords(whose: 'key' | 'org', purse: Purse | undefined, settings: OpenaiSettings): Words {
  switch (settings.flavour) {
    case 'openai': {
      const message = 'You exceeded your current quota, please check your plan and billing details';
      return { status: 429, type: 'insufficient_quota', code: settings.quotaCodes[whose], message };
    }
    case 'litellm': {
      const spent = usdOf(purse?.spentNanoUsd ?? 0);
      const limit = usdOf(purse?.budgetNanoUsd ?? 0);
      const message = `Budget has been exceeded! Current cost: ${spent}, Max budget: ${limit}`;
      const status = settings.budgetStatus;
      return { status, type: 'budget_exceeded', code: String(status), message };
    }
    case 'openrouter':
      return whose === 'key'
        ? outOfCredits('openrouter_key_limit', 'The limit of this key is reached')
        : outOfCredits('openrouter_credits', 'Insufficient credits');
    default:
      return settings.flavour satisfies never;
  }
}

function outOfCredits(limitSource: string, message: string): Words {
  return { status: 402, type: 'billing_error', code: null, message, limitSource };
}
