/** What every OpenAI-shaped upstream has in common, whether it is called itself or through a gateway. */
import type { Dialect } from './dialect.ts';
import type { ReasoningEffort } from './request.ts';

const accepts: ReadonlySet<string> = new Set([
  'max_tokens',
  'max_completion_tokens',
  'n',
  'stream',
  'stream_options',
  'user',
  'metadata',
  'store',
  'seed',
  'stop',
  'temperature',
  'top_p',
  'frequency_penalty',
  'presence_penalty',
  'logit_bias',
  'logprobs',
  'top_logprobs',
  'parallel_tool_calls',
  'service_tier',
]);

const efforts: ReadonlyMap<unknown, ReasoningEffort> = new Map<string, ReasoningEffort>([
  ['none', 'off'],
  ['minimal', 'low'],
  ['low', 'low'],
  ['medium', 'medium'],
  ['high', 'high'],
  ['xhigh', 'max'],
]);

export const passedThrough = {
  rules: { accepts, strictMessages: false, efforts },
  hasAliases: false,
  openListing: false,
  usageOnFinishChunk: false,
  costInUsage: false,
} satisfies Partial<Dialect>;
