/**
 * Reads the body of a completion request and checks it as the provider would: form first, then the model and whether
 * this key may use it, then parameters and context. Answers with the request or with the reason for refusing it.
 */
import { isChatModel, type Catalogue, type Model } from './catalogue.ts';
import type { RequestRules } from './dialect.ts';
import { mayUse, type Key } from './keyring.ts';
import type { Refusal } from './refusal.ts';

export const reasoningEfforts = ['off', 'low', 'medium', 'high', 'max'] as const;
export type ReasoningEffort = (typeof reasoningEfforts)[number];

export type CompletionRequest = {
  model: Model;
  stream: boolean;
  /** `stream_options.include_usage`. */
  includeUsage: boolean;
  maxTokens: number | null;
  promptTokens: number;
  lastUserMessage: string;
  wantsJson: boolean;
  /** `off` for models that do not reason. */
  reasoningEffort: ReasoningEffort;
  includeReasoning: boolean;
};

type Body = Record<string, unknown>;
type Conversation = { characters: number; lastUserMessage: string; hasImage: boolean };

const roles = ['system', 'developer', 'user', 'assistant', 'tool'];
const stopLimit = 4;

export function readRequest(
  text: string,
  key: Key,
  catalogue: Catalogue,
  rules: RequestRules,
): CompletionRequest | Refusal {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return { reason: 'invalid_json' };
  }
  if (!isObject(body)) return invalid('Expected a JSON object');
  if (typeof body['model'] !== 'string' || body['model'] === '')
    return invalid('Expected a model id', 'model', body['model']);
  const conversation = readMessages(body['messages'], rules);
  if ('reason' in conversation) return conversation;

  const resolution = catalogue.resolve(body['model']);
  if (resolution.kind !== 'found') {
    const removed = resolution.kind === 'removed';
    const message = removed ? `Model no longer available: ${body['model']}` : `Unknown model: ${body['model']}`;
    return { reason: removed ? 'removed_model' : 'unknown_model', message, param: 'model' };
  }
  const { model } = resolution;
  if (!mayUse(key, model.id)) return { reason: 'model_not_allowed', param: 'model' };
  if (!isChatModel(model)) {
    return { reason: 'not_a_chat_model', message: `${model.id} does not answer chat completions`, param: 'model' };
  }
  return checkParameters(body, conversation, model, rules);
}

function readMessages(messages: unknown, { strictMessages }: RequestRules): Conversation | Refusal {
  if (!Array.isArray(messages) || messages.length === 0) {
    return invalid('Expected at least one message', 'messages', messages);
  }
  const conversation: Conversation = { characters: 0, lastUserMessage: '', hasImage: false };
  for (const [index, message] of messages.entries()) {
    const at = `messages[${index}]`;
    if (!isObject(message)) return invalid('Expected an object', at, message);
    const role = message['role'];
    if (typeof role !== 'string' || !roles.includes(role)) {
      return invalid('Unknown role', `${at}.role`, role);
    }
    if (strictMessages && index === 0 && role === 'assistant') {
      return invalid('The first message may not be the assistant’s', `${at}.role`, role);
    }
    const content = readContent(message['content']);
    const mayBeEmpty = !strictMessages || (role === 'assistant' && Array.isArray(message['tool_calls']));
    if (!content || (content.text === '' && !content.hasImage && !mayBeEmpty)) {
      return invalid('Empty message', `${at}.content`, message['content']);
    }
    conversation.characters += content.text.length;
    conversation.hasImage ||= content.hasImage;
    if (role === 'user') conversation.lastUserMessage = content.text;
  }
  return conversation;
}

/** Text as it is, or the text of the parts; null for anything else. Pictures count no tokens. */
function readContent(content: unknown): { text: string; hasImage: boolean } | null {
  if (typeof content === 'string') return { text: content, hasImage: false };
  if (content === null || content === undefined) return { text: '', hasImage: false };
  if (!Array.isArray(content)) return null;
  const parts = content.filter(isObject);
  const text = parts.map((part) => (typeof part['text'] === 'string' ? part['text'] : '')).join('');
  return { text, hasImage: parts.some((part) => part['type'] === 'image_url') };
}

function checkParameters(
  body: Body,
  conversation: Conversation,
  model: Model,
  { accepts, efforts }: RequestRules,
): CompletionRequest | Refusal {
  for (const name in body) {
    if (name === 'model' || name === 'messages' || model.supported_parameters.includes(name) || accepts.has(name))
      continue;
    return {
      reason: 'unsupported_parameter',
      message: `${model.id} does not support the parameter ${name}`,
      param: name,
    };
  }
  if (conversation.hasImage && !model.capabilities.image_input) {
    return invalid(`${model.id} does not take images`, 'messages');
  }
  const format = body['response_format'];
  if (format !== undefined && !model.capabilities.response_format) {
    return { reason: 'unsupported_parameter', param: 'response_format' };
  }
  const asked = body['reasoning_effort'];
  const usual = model.capabilities.reasoning_effort ? 'medium' : 'off';
  const effort = asked === undefined || asked === null ? usual : efforts.get(asked);
  if (!effort) return invalid(`Expected one of ${[...efforts.keys()].join(', ')}`, 'reasoning_effort', asked);
  const stream = body['stream'] ?? false;
  if (typeof stream !== 'boolean') return invalid('Expected true or false', 'stream', stream);
  const streamOptions = body['stream_options'];
  const stop = body['stop'];
  if (Array.isArray(stop) && stop.length > stopLimit) return invalid(`Expected at most ${stopLimit}`, 'stop', stop);
  const limit = body['max_completion_tokens'] === undefined ? 'max_tokens' : 'max_completion_tokens';
  const maxTokens = body[limit] ?? null;
  if (maxTokens !== null && !isPositiveInteger(maxTokens)) {
    return invalid('Expected a positive integer', limit, maxTokens);
  }

  const promptTokens = Math.ceil(conversation.characters / 4);
  const context = model.context_length;
  if (context !== null && promptTokens + (maxTokens ?? 1) > context) {
    const message = `${promptTokens} prompt tokens and max_tokens ${maxTokens ?? 'unset'} exceed the context of ${context}`;
    return { reason: 'context_length', message, param: limit };
  }
  return {
    model,
    stream,
    includeUsage: isObject(streamOptions) && streamOptions['include_usage'] === true,
    maxTokens,
    promptTokens,
    lastUserMessage: conversation.lastUserMessage,
    wantsJson: isObject(format) && format['type'] !== 'text',
    reasoningEffort: effort,
    includeReasoning: body['include_reasoning'] !== false,
  };
}

function invalid(message: string, param?: string, value?: unknown): Refusal {
  return { reason: 'invalid_request', message, value, ...(param !== undefined && { param }) };
}

function isObject(value: unknown): value is Body {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isPositiveInteger(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}
