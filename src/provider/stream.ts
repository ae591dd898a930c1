/**
 * A streamed completion put together again: SSE events in, one `chat.completion` body out, as if it had been asked for
 * whole. Usage may ride on the finish chunk (PrivateMind) or on one more chunk without choices (OpenAI); both are
 * taken. A stream is whole when it said `[DONE]` or every choice has a finish reason; anything less is cut, however
 * politely the connection was closed. Pure: no clock, no socket. Source: providers.md §1 "Streaming", §3.
 */
import { createParser } from 'eventsource-parser';
import { z } from 'zod';

export type StreamEnd =
  | { tag: 'whole'; body: string }
  /** An error event in mid-stream, as an error envelope. */
  | { tag: 'error'; body: string }
  | { tag: 'cut'; message: string };

export type StreamAssembler = {
  push: (text: string) => void;
  /** True once the first piece of an answer (text, reasoning or a tool call) has come. */
  hasBegun: () => boolean;
  end: () => StreamEnd;
};

const toolCallSchema = z.looseObject({
  index: z.number().int().nonnegative().default(0),
  id: z.string().nullish(),
  type: z.string().nullish(),
  function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }).nullish(),
});
const chunkSchema = z.looseObject({
  choices: z
    .array(
      z.looseObject({
        index: z.number().int().nonnegative().default(0),
        delta: z.looseObject({ tool_calls: z.array(toolCallSchema).nullish() }).nullish(),
        finish_reason: z.string().nullish(),
      }),
    )
    .default([]),
  usage: z.unknown().optional(),
});
type Chunk = z.infer<typeof chunkSchema>;
type ToolCall = { id: string; type: string; function: { name: string; arguments: string } };
type Choice = { message: Record<string, unknown>; toolCalls: ToolCall[]; finishReason: string | null };

export function createStreamAssembler(): StreamAssembler {
  const choices = new Map<number, Choice>();
  let envelope: Record<string, unknown> | null = null;
  let usage: unknown = null;
  let isDone = false;
  let error: string | null = null;
  let garbled: string | null = null;
  let hasBegun = false;

  function take(chunk: Chunk): void {
    const { choices: parts, usage: counted, ...rest } = chunk;
    envelope ??= rest;
    if (counted) usage = counted;
    for (const part of parts) {
      let choice = choices.get(part.index);
      if (!choice) choices.set(part.index, (choice = { message: {}, toolCalls: [], finishReason: null }));
      if (part.delta && addDelta(choice, part.delta)) hasBegun = true;
      if (part.finish_reason) choice.finishReason = part.finish_reason;
    }
  }

  const parser = createParser({
    onEvent({ event, data }) {
      if (data === '[DONE]') {
        isDone = true;
        return;
      }
      let json: unknown;
      try {
        json = JSON.parse(data);
      } catch {
        garbled ??= data.slice(0, 200);
        return;
      }
      if (event === 'error' || isEnvelope(json) || isFlatError(json)) {
        error = JSON.stringify(isEnvelope(json) ? json : { error: json });
        return;
      }
      const chunk = chunkSchema.safeParse(json);
      if (chunk.success) take(chunk.data);
      else garbled ??= data.slice(0, 200);
    },
  });

  return {
    push: (text) => parser.feed(text),
    hasBegun: () => hasBegun,
    end() {
      if (error !== null) return { tag: 'error', body: error };
      if (garbled !== null) return { tag: 'cut', message: `an event of the stream is no completion chunk: ${garbled}` };
      if (choices.size === 0) return { tag: 'cut', message: 'the stream ended before any answer' };
      const isFinished = [...choices.values()].every(({ finishReason }) => finishReason !== null);
      if (!isDone && !isFinished) {
        return { tag: 'cut', message: 'the stream ended without [DONE] and without a finish reason' };
      }
      return { tag: 'whole', body: JSON.stringify(assemble(envelope ?? {}, choices, usage)) };
    },
  };
}

function isEnvelope(json: unknown): boolean {
  return typeof json === 'object' && json !== null && 'error' in json && Boolean(json.error);
}

/** vLLM's: it says [DONE] after it, as if all were well. */
function isFlatError(json: unknown): boolean {
  return typeof json === 'object' && json !== null && 'object' in json && json.object === 'error';
}

/** Returns whether the delta carried any of the answer. Text is joined, whatever its field is called; the role is set. */
function addDelta(choice: Choice, delta: NonNullable<Chunk['choices'][number]['delta']>): boolean {
  const { tool_calls: calls, ...fields } = delta;
  let carried = false;
  for (const [name, value] of Object.entries(fields)) {
    const before = choice.message[name];
    const isText = typeof value === 'string' && name !== 'role';
    if (isText && typeof before === 'string') choice.message[name] = before + value;
    else if (value !== null && value !== undefined) choice.message[name] = value;
    if (isText && value !== '') carried = true;
  }
  for (const call of calls ?? []) {
    const known = (choice.toolCalls[call.index] ??= {
      id: '',
      type: 'function',
      function: { name: '', arguments: '' },
    });
    if (call.id) known.id = call.id;
    if (call.type) known.type = call.type;
    known.function.name += call.function?.name ?? '';
    known.function.arguments += call.function?.arguments ?? '';
    carried = true;
  }
  return carried;
}

function assemble(envelope: Record<string, unknown>, choices: Map<number, Choice>, usage: unknown) {
  return {
    ...envelope,
    object: 'chat.completion',
    choices: [...choices]
      .toSorted(([a], [b]) => a - b)
      .map(([index, { message, toolCalls, finishReason }]) => ({
        index,
        message: {
          role: 'assistant',
          content: null,
          ...message,
          ...(toolCalls.length > 0 && { tool_calls: toolCalls.filter(Boolean) }),
        },
        finish_reason: finishReason,
      })),
    ...(usage !== null && { usage }),
  };
}
