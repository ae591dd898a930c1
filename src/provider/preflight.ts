/**
 * Pre-flight: what would surely be refused, found before it is sent. Pure; knows one model's listing entry. Says
 * nothing about what it cannot know: a listing without a list of parameters, or without capabilities, forbids nothing.
 * Source: providers.md §1 (`supported_parameters`, `capabilities`, "Other traps").
 */
import type { ProviderKind } from '../config.ts';
import { eachText } from './request-size.ts';

export type Abilities = {
  id: string;
  contextLength: number | null;
  /** Null: the listing does not say. */
  supportedParameters: ReadonlySet<string> | null;
  /** The flags that are true; null: the listing does not say. */
  capabilities: ReadonlySet<string> | null;
};

export type PreflightProblem = { code: string; field: string; message: string };

export type Preflight = {
  /** The body to send: the same one, or with `dropUnsupported` without what the model does not take. */
  body: Record<string, unknown>;
  problems: PreflightProblem[];
};

type Body = Record<string, unknown>;

/** Never a parameter of the model: what the request is made of, and what we decide ourselves. */
const notParameters = new Set(['model', 'messages', 'stream', 'stream_options']);
const roles = new Set(['system', 'developer', 'user', 'assistant', 'tool', 'function']);
/** No text has fewer tokens than this many characters per token, however repetitive. */
const mostCharsPerToken = 16;

const neededCapability: Record<string, string> = {
  tools: 'tools',
  tool_choice: 'tools',
  response_format: 'response_format',
  reasoning_effort: 'reasoning_effort',
};

/** Values that one kind of provider documents as the only ones. */
const knownValues: Partial<Record<ProviderKind, Record<string, readonly unknown[]>>> = {
  privatemind: { reasoning_effort: ['off', 'low', 'medium', 'high', 'max'] },
};
const mostStops: Partial<Record<ProviderKind, number>> = { privatemind: 4 };

/** Runs for every line before a batch and again before each call, so the way of a good body allocates next to nothing. */
export function preflight(
  kind: ProviderKind,
  model: Abilities,
  body: Body,
  options: { dropUnsupported: boolean },
): Preflight {
  const problems: PreflightProblem[] = [];
  let kept = body;
  const unsupported = unsupportedParameters(model, body);
  const missing = missingCapabilities(model, body);
  if (unsupported.length + missing.length > 0) {
    const droppable = new Map([...unsupported, ...missing].map((problem) => [problem.field, problem]));
    if (!options.dropUnsupported) problems.push(...droppable.values());
    else kept = Object.fromEntries(Object.entries(body).filter(([name]) => !droppable.has(name)));
  }
  addBadValues(kind, kept, problems);
  addMessageProblems(model, kept, problems);
  addContextProblem(model, kept, problems);
  return { body: kept, problems };
}

const none: readonly PreflightProblem[] = [];

function unsupportedParameters({ id, supportedParameters }: Abilities, body: Body): readonly PreflightProblem[] {
  if (!supportedParameters) return none;
  const unsupported = given(body).filter((name) => !notParameters.has(name) && !supportedParameters.has(name));
  return unsupported.map((name) => ({
    code: 'unsupported_parameter',
    field: name,
    message: `${id} does not take "${name}"${instead(name, supportedParameters)}; remove it, or let --drop-unsupported do so`,
  }));
}

function instead(name: string, supported: ReadonlySet<string>): string {
  return name === 'max_completion_tokens' && supported.has('max_tokens') ? ' (it takes max_tokens)' : '';
}

function missingCapabilities({ id, capabilities }: Abilities, body: Body): readonly PreflightProblem[] {
  if (!capabilities) return none;
  return given(body).flatMap((name) => {
    const needed = neededCapability[name];
    if (!needed || capabilities.has(needed)) return [];
    const message = `${id} has no capability "${needed}", which "${name}" needs; remove it, or choose another model`;
    return [{ code: 'missing_capability', field: name, message }];
  });
}

function addBadValues(kind: ProviderKind, body: Body, problems: PreflightProblem[]): void {
  const known = knownValues[kind];
  for (const name in known) {
    const values = known[name] ?? [];
    const value = body[name];
    if (value === undefined || value === null || values.includes(value)) continue;
    const message = `expected one of ${values.join(', ')}, got ${JSON.stringify(value)}`;
    problems.push({ code: 'invalid_value', field: name, message });
  }
  const most = mostStops[kind];
  const { stop } = body;
  if (most !== undefined && Array.isArray(stop) && stop.length > most) {
    problems.push({
      code: 'invalid_value',
      field: 'stop',
      message: `expected at most ${most} strings, got ${stop.length}`,
    });
  }
}

function addMessageProblems({ id, capabilities }: Abilities, body: Body, problems: PreflightProblem[]): void {
  const messages = Array.isArray(body['messages']) ? (body['messages'] as Body[]) : [];
  let first: Body | null = null;
  for (let index = 0; index < messages.length; index += 1) {
    const message = messages[index] as Body;
    const { role, content } = message;
    if (role !== 'system' && role !== 'developer') first ??= message;
    if (typeof role === 'string' && !roles.has(role)) {
      const wrong = `expected one of ${[...roles].join(', ')}, got "${role}"`;
      problems.push({ code: 'invalid_role', field: `messages[${index}].role`, message: wrong });
    }
    if (role !== 'assistant' && role !== 'tool' && role !== 'function' && isEmpty(content)) {
      problems.push({
        code: 'empty_message',
        field: `messages[${index}].content`,
        message: 'expected some text, got an empty message',
      });
    }
    if (capabilities && !capabilities.has('image_input') && hasImage(content)) {
      const cannot = `${id} does not read images; choose a model with image_input`;
      problems.push({ code: 'missing_capability', field: `messages[${index}].content`, message: cannot });
    }
  }
  if (first?.['role'] === 'assistant') {
    const message = 'the first message after the system prompt must not be the assistant\u2019s';
    problems.push({ code: 'message_order', field: 'messages', message });
  }
}

function isEmpty(content: unknown): boolean {
  return (typeof content === 'string' && content.trim() === '') || (Array.isArray(content) && content.length === 0);
}

function hasImage(content: unknown): boolean {
  return Array.isArray(content) && content.some((part: Body) => part?.['type'] === 'image_url');
}

function addContextProblem({ id, contextLength }: Abilities, body: Body, problems: PreflightProblem[]): void {
  if (contextLength === null) return;
  const asked = body['max_completion_tokens'] ?? body['max_tokens'];
  const most = typeof asked === 'number' ? asked : 1;
  const leastPrompt = Math.floor(textChars(body['messages']) / mostCharsPerToken);
  if (leastPrompt + most <= contextLength) return;
  const message =
    `the prompt (at least ${leastPrompt} tokens) and ${most} tokens of answer exceed the ${contextLength} tokens ` +
    `of context of ${id}; shorten the prompt or lower max_tokens`;
  problems.push({ code: 'context_too_long', field: 'messages', message });
}

/** Characters of text; pictures and the like do not count, their size says nothing about tokens. */
function textChars(messages: unknown): number {
  if (!Array.isArray(messages)) return 0;
  let sum = 0;
  const add = (text: string) => {
    sum += text.length;
  };
  for (const { content } of messages as Body[]) eachText(content, add);
  return sum;
}

function given(body: Body): string[] {
  return Object.keys(body).filter((name) => body[name] !== null && body[name] !== undefined);
}
