/**
 * Makes up an answer. It is never a model's: the text says that it is simulated. The same request gets the same text
 * and the same tokens for the same seed; the beginning of the last user message is quoted, so that an answer can be
 * matched with its question.
 */
import { z } from 'zod';
import { costNanoUsdOf } from './catalogue.ts';
import { usdOf } from './money.ts';
import type { CompletionRequest, ReasoningEffort } from './request.ts';
import { createRandom, fingerprintOf, hash53 } from './seeded.ts';

const tokens = z.number().int().positive().max(1_000_000);
const forms = 'expected tokens: a positive integer, or {"min", "max"} with min ≤ max';
export const outputTokensSchema = z.union(
  [tokens, z.strictObject({ min: tokens, max: tokens }).refine(({ min, max }) => min <= max, forms)],
  forms,
);
export type OutputTokens = z.infer<typeof outputTokensSchema>;

/** What an answer measures and costs. Known on arrival; the text is only made when it is sent. */
export type CompletionPlan = {
  request: CompletionRequest;
  fingerprint: string;
  finishReason: 'stop' | 'length';
  /** Without the reasoning. */
  contentTokens: number;
  reasoningTokens: number;
  /** Null for a model without a price. */
  costNanoUsd: number | null;
};

const charactersPerToken = 4;
const quotedCharacters = 60;

/** How much longer than the answer the reasoning is. */
const reasoningShare: Record<ReasoningEffort, number> = { off: 0, low: 0.5, medium: 1, high: 2, max: 4 };

export function planCompletion(request: CompletionRequest, outputTokens: OutputTokens, seed: number): CompletionPlan {
  const { model, promptTokens } = request;
  const room = model.context_length === null ? Number.POSITIVE_INFINITY : model.context_length - promptTokens;
  const limit = Math.min(request.maxTokens ?? Number.POSITIVE_INFINITY, room);
  const wanted = drawTokens(outputTokens, hash53(request.lastUserMessage, seed));
  // Reasoning comes out of max_tokens too, and comes first; half the limit is left for the answer.
  const wantedReasoning = Math.round(wanted * reasoningShare[request.reasoningEffort]);
  const reasoningTokens = Math.min(wantedReasoning, Math.floor(limit / 2));
  const contentTokens = Math.min(wanted, limit - reasoningTokens);
  return {
    request,
    fingerprint: fingerprintOf(request.lastUserMessage),
    finishReason: contentTokens < wanted ? 'length' : 'stop',
    contentTokens,
    reasoningTokens,
    costNanoUsd: costNanoUsdOf(model, promptTokens, contentTokens + reasoningTokens),
  };
}

export function completionTokensOf(plan: CompletionPlan): number {
  return plan.contentTokens + plan.reasoningTokens;
}

function drawTokens(outputTokens: OutputTokens, hash: number): number {
  if (typeof outputTokens === 'number') return outputTokens;
  const { min, max } = outputTokens;
  return min + Math.floor(createRandom(hash)() * (max - min + 1));
}

const sentences = [
  'The reasons are laid out below in the order in which they matter.',
  'Seen over a longer time, the picture is less clear than it looks at first.',
  'Three points deserve attention, and the second of them is often overlooked.',
  'None of this is a finding: the words only fill the space that an answer would take.',
  'In short, the simplest explanation remains the best one until there is more to go on.',
  'A careful reader will want to compare this with the sources before relying on it.',
];
const filler = `${sentences.join(' ')} `;

export function contentOf(plan: CompletionPlan): string {
  const length = plan.contentTokens * charactersPerToken;
  const quote = plan.request.lastUserMessage.slice(0, quotedCharacters).toWellFormed();
  const opening = `[simulated ${plan.fingerprint}] No model was asked about "${quote}". `;
  if (!plan.request.wantsJson) return fill(opening, length, plan.fingerprint);
  const frame = JSON.stringify({ simulated: true, text: opening }).length;
  const text = fill(opening, Math.max(opening.length, length - frame + opening.length), plan.fingerprint);
  const json = JSON.stringify({ simulated: true, text });
  return plan.finishReason === 'length' ? json.slice(0, length) : json;
}

/** Null where there was no reasoning, or it was not asked for. */
export function reasoningOf(plan: CompletionPlan): string | null {
  if (plan.reasoningTokens === 0 || !plan.request.includeReasoning) return null;
  return fill('[simulated reasoning] ', plan.reasoningTokens * charactersPerToken, plan.fingerprint);
}

function fill(opening: string, length: number, fingerprint: string): string {
  // Well-formed: the cut may fall into a surrogate pair.
  if (length <= opening.length) return opening.slice(0, length).toWellFormed();
  const offset = fingerprint.charCodeAt(fingerprint.length - 1) % filler.length;
  const missing = length - opening.length;
  return opening + filler.repeat(Math.ceil((offset + missing) / filler.length)).slice(offset, offset + missing);
}

export function usageOf(plan: CompletionPlan, options: { reportCost: boolean }): object {
  const completionTokens = completionTokensOf(plan);
  return {
    prompt_tokens: plan.request.promptTokens,
    completion_tokens: completionTokens,
    total_tokens: plan.request.promptTokens + completionTokens,
    ...(plan.reasoningTokens > 0 && { completion_tokens_details: { reasoning_tokens: plan.reasoningTokens } }),
    ...(options.reportCost && plan.costNanoUsd !== null && { cost_usd: usdOf(plan.costNanoUsd) }),
  };
}

export type Envelope = { id: string; createdAtMs: number; reportCost: boolean };

/** The body of an answer that is not streamed. */
export function completionBody(plan: CompletionPlan, { id, createdAtMs, reportCost }: Envelope): string {
  const reasoning = reasoningOf(plan);
  return JSON.stringify({
    id,
    object: 'chat.completion',
    created: Math.floor(createdAtMs / 1000),
    model: plan.request.model.id,
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: contentOf(plan), ...(reasoning !== null && { reasoning }) },
        finish_reason: plan.finishReason,
      },
    ],
    usage: usageOf(plan, { reportCost }),
  });
}
