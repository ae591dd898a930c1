/**
 * The frames of a streamed answer (server-sent events). Usage rides on the finish chunk, whose `choices` is not empty,
 * and is always there; `[DONE]` ends the stream.
 */
import { contentOf, reasoningOf, usageOf, type CompletionPlan, type Envelope } from './completion.ts';

/** An answer comes in about this many pieces, however long it is. */
const pieces = 8;

export function framesOf(plan: CompletionPlan, { id, createdAtMs, reportCost }: Envelope): string[] {
  const head = {
    id,
    object: 'chat.completion.chunk',
    created: Math.floor(createdAtMs / 1000),
    model: plan.request.model.id,
  };
  const chunk = (delta: object): string => frameOf({ ...head, choices: [{ index: 0, delta, finish_reason: null }] });
  const finish = {
    ...head,
    choices: [{ index: 0, delta: {}, finish_reason: plan.finishReason }],
    usage: usageOf(plan, { reportCost }),
  };
  return [
    chunk({ role: 'assistant', content: '' }),
    ...split(reasoningOf(plan) ?? '').map((reasoning) => chunk({ reasoning })),
    ...split(contentOf(plan)).map((content) => chunk({ content })),
    frameOf(finish),
    'data: [DONE]\n\n',
  ];
}

export function frameOf(data: object): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

function split(text: string): string[] {
  const size = Math.max(1, Math.ceil(text.length / pieces));
  const parts: string[] = [];
  let from = 0;
  while (from < text.length) {
    let to = Math.min(from + size, text.length);
    // A surrogate pair stays whole: half of one is not valid UTF-8.
    const last = text.charCodeAt(to - 1);
    if (last >= 0xd800 && last < 0xdc00 && to < text.length) to += 1;
    parts.push(text.slice(from, to));
    from = to;
  }
  return parts;
}
