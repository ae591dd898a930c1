/**
 * Pre-flight: what would surely be refused, found before it is sent. Pure; knows one model's listing entry. Says
 * nothing about what it cannot know: a listing without a list of parameters, or without capabilities, forbids nothing.
 * Source: providers.md §1 (`supported_parameters`, `capabilities`, "Other traps").
 */
import type { ProviderKind } from '../config.ts';

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

export function preflight(
  kind: ProviderKind,
  model: Abilities,
  body: Body,
  options: { dropUnsupported: boolean },
): Preflight {
  const unsupported = [...unsupportedParameters(model, body), ...missingCapabilities(model, body)];
  const droppable = new Map(unsupported.map((problem) => [problem.field, problem]));
  const kept = options.dropUnsupported
    ? Object.fromEntries(Object.entries(body).filter(([name]) => !droppable.has(name)))
    : body;
  return {
    body: kept,
    problems: [
      ...(options.dropUnsupported ? [] : droppable.values()),
      ...badValues(kind, kept),
      ...messageProblems(model, kept),
      ...contextProblems(model, kept),
    ],
  };
}

function unsupportedParameters({ id, supportedParameters }: Abilities, body: Body): PreflightProblem[] {
  if (!supportedParameters) return [];
  return given(body)
    .filter((name) => !notParameters.has(name) && !supportedParameters.has(name))
    .map((name) => ({
      code: 'unsupported_parameter',
      field: name,
      message: `${id} does not take "${name}"${instead(name, supportedParameters)}; remove it, or let --drop-unsupported do so`,
    }));
}

function instead(name: string, supported: ReadonlySet<string>): string {
  return name === 'max_completion_tokens' && supported.has('max_tokens') ? ' (it takes max_tokens)' : '';
}

function missingCapabilities({ id, capabilities }: Abilities, body: Body): PreflightProblem[] {
  if (!capabilities) return [];
  return given(body).flatMap((name) => {
    const needed = neededCapability[name];
    if (!needed || capabilities.has(needed)) return [];
    const message = `${id} has no capability "${needed}", which "${name}" needs; remove it, or choose another model`;
    return [{ code: 'missing_capability', field: name, message }];
  });
}

function badValues(kind: ProviderKind, body: Body): PreflightProblem[] {
  const problems = Object.entries(knownValues[kind] ?? {}).flatMap(([name, values]) => {
    const value = body[name];
    if (value === undefined || value === null || values.includes(value)) return [];
    const message = `expected one of ${values.join(', ')}, got ${JSON.stringify(value)}`;
    return [{ code: 'invalid_value', field: name, message }];
  });
  const most = mostStops[kind];
  const { stop } = body;
  if (most !== undefined && Array.isArray(stop) && stop.length > most) {
    problems.push({
      code: 'invalid_value',
      field: 'stop',
      message: `expected at most ${most} strings, got ${stop.length}`,
    });
  }
  return problems;
}

function messageProblems({ id, capabilities }: Abilities, body: Body): PreflightProblem[] {
  const messages = Array.isArray(body['messages']) ? (body['messages'] as Body[]) : [];
  const problems: PreflightProblem[] = [];
  for (const [index, { role, content }] of messages.entries()) {
    const field = `messages[${index}]`;
    if (typeof role === 'string' && !roles.has(role)) {
      const message = `expected one of ${[...roles].join(', ')}, got "${role}"`;
      problems.push({ code: 'invalid_role', field: `${field}.role`, message });
    }
    if (isEmpty(content) && role !== 'assistant' && role !== 'tool' && role !== 'function') {
      problems.push({
        code: 'empty_message',
        field: `${field}.content`,
        message: 'expected some text, got an empty message',
      });
    }
    if (capabilities && !capabilities.has('image_input') && hasImage(content)) {
      const message = `${id} does not read images; choose a model with image_input`;
      problems.push({ code: 'missing_capability', field: `${field}.content`, message });
    }
  }
  const first = messages.find(({ role }) => role !== 'system' && role !== 'developer');
  if (first?.['role'] === 'assistant') {
    const message = 'the first message after the system prompt must not be the assistant\u2019s';
    problems.push({ code: 'message_order', field: 'messages', message });
  }
  return problems;
}

function isEmpty(content: unknown): boolean {
  return (typeof content === 'string' && content.trim() === '') || (Array.isArray(content) && content.length === 0);
}

function hasImage(content: unknown): boolean {
  return Array.isArray(content) && content.some((part: Body) => part?.['type'] === 'image_url');
}

function contextProblems({ id, contextLength }: Abilities, body: Body): PreflightProblem[] {
  if (contextLength === null) return [];
  const asked = body['max_completion_tokens'] ?? body['max_tokens'];
  const most = typeof asked === 'number' ? asked : 1;
  const leastPrompt = Math.floor(textChars(body['messages']) / mostCharsPerToken);
  if (leastPrompt + most <= contextLength) return [];
  const message =
    `the prompt (at least ${leastPrompt} tokens) and ${most} tokens of answer exceed the ${contextLength} tokens ` +
    `of context of ${id}; shorten the prompt or lower max_tokens`;
  return [{ code: 'context_too_long', field: 'messages', message }];
}

/** Characters of text; pictures and the like do not count, their size says nothing about tokens. */
function textChars(messages: unknown): number {
  if (!Array.isArray(messages)) return 0;
  return messages.reduce((sum: number, { content }: Body) => {
    if (typeof content === 'string') return sum + content.length;
    if (!Array.isArray(content)) return sum;
    return (
      sum +
      content.reduce(
        (chars: number, part: Body) => chars + (typeof part?.['text'] === 'string' ? part['text'].length : 0),
        0,
      )
    );
  }, 0);
}

function given(body: Body): string[] {
  return Object.keys(body).filter((name) => body[name] !== null && body[name] !== undefined);
}
