/**
 * The frames of a streamed answer (server-sent events); `[DONE]` ends the stream. Usage rides on the finish chunk, whose
 * `choices` is not empty; or it comes, when asked for, in one more chunk whose `choices` is, and is null until then.
 */
import { contentOf, reasoningOf, usageOf, type CompletionPlan, type Envelope } from './completion.ts';

/** An answer comes in about this many pieces, however long it is. */
const pieces = 8;

export const doneFrame = 'data: [DONE]\n\n';

export type StreamedAnswer = {
  /** What every chunk says. */
  head: object;
  frames: string[];
  /** The finish chunk, the usage and the end: they leave together. */
  ending: string;
};

export type StreamStyle = { usageOnFinishChunk: boolean; streamComment: string };

export function streamOf(plan: CompletionPlan, envelope: Envelope, style: StreamStyle): StreamedAnswer {
  const extraChunk = !style.usageOnFinishChunk && plan.request.includeUsage;
  const head = {
    id: envelope.id,
    object: 'chat.completion.chunk',
    created: Math.floor(envelope.createdAtMs / 1000),
    model: plan.request.model.id,
  };
  const noUsageYet = extraChunk ? { usage: null } : {};
  const chunk = (delta: object, finish: string | null = null): object => ({
    ...head,
    choices: [{ index: 0, delta, finish_reason: finish }],
    ...noUsageYet,
  });
  const usage = usageOf(plan, envelope);
  const finish = { ...chunk({}, plan.finishReason), ...(style.usageOnFinishChunk && { usage }) };
  return {
    head,
    frames: [
      style.streamComment + frameOf(chunk({ role: 'assistant', content: '' })),
      ...split(reasoningOf(plan) ?? '').map((reasoning) => frameOf(chunk({ reasoning }))),
      ...split(contentOf(plan)).map((content) => frameOf(chunk({ content }))),
    ],
    ending: frameOf(finish) + (extraChunk ? frameOf({ ...head, choices: [], usage }) : '') + doneFrame,
  };
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
