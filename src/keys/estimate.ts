/**
 * What a request will use, before it is sent: tokens for the window, money for the budgets. Learnt from the answers of
 * this process, per model; cautious until something is known. Money is always reserved by `max_tokens`, for every choice.
 *
 * Pictures, sound and files count nothing: from 85 tokens to tens of thousands, they are as many as a model makes of
 * them, and no number holds for two. Their real use takes its place in the window and the budgets with the answer.
 */
import type { Price } from '../config.ts';
import type { RequestSize } from '../provider/request-size.ts';
import { costOf, type Usage } from '../provider/usage.ts';

export type Estimate = {
  tokens: number;
  costNanoUsd: number;
  /** Of them, what is no mere guess: where a request names no `max_tokens`, and no limit counts them, its prompt alone. */
  leastTokens: number;
};

export type Estimator = {
  estimate: (model: string, size: RequestSize, about: ModelFacts) => Estimate;
  learn: (model: string, size: RequestSize, usage: Usage) => void;
};

export type ModelFacts = {
  price: Price | null;
  contextLength: number | null;
  /** The key's limit; null: none, or unknown. */
  tpm: number | null;
  /** OpenAI's limit counts the `max_tokens` asked for; the default is what is really used. */
  tpmCounts: 'used' | 'requested';
};

/** A message's role and separators, as if they were text; in JSON they are about as long. */
const charsPerMessage = 28;
/** English text is about a quarter of a token per character; other scripts reach one. Start high, learn down. */
const firstTokensPerChar = 0.5;
/** How fast the ratio follows: the mean of about the last fifty answers. */
const learningRate = 0.02;
/** Lengths of single choices remembered per model; their 95th percentile is the estimate. */
const remembered = 256;
const knownAfter = 20;
const highQuantile = 0.95;
/** A request without `max_tokens` on a model without a known context. */
const assumedMaxTokens = 4096;
/** No answer is longer; what a request asks for beyond it would only overflow the sums in Redis. */
const mostCompletionTokens = 1e9;

type Learnt = {
  tokensPerChar: number;
  /** Prompts that the ratio was learnt from. */
  prompts: number;
  outputs: number[];
  next: number;
  high: number;
  seen: number;
};

export function createEstimator(): Estimator {
  const models = new Map<string, Learnt>();
  return {
    estimate(model, size, about) {
      const learnt = models.get(model);
      const prompt = Math.ceil(promptChars(size) * (learnt?.tokensPerChar ?? firstTokensPerChar));
      const room = about.contextLength === null ? assumedMaxTokens : Math.max(1, about.contextLength - prompt);
      const most = size.maxTokens ?? Math.min(room, assumedMaxTokens);
      const known = learnt !== undefined && learnt.seen >= knownAfter && about.tpmCounts === 'used';
      const ofAll = (tokens: number) => Math.min(mostCompletionTokens, tokens * size.choices);
      const tokens = prompt + ofAll(known ? Math.min(most, learnt.high) : most);
      const leastTokens = size.maxTokens === null && about.tpmCounts === 'used' ? prompt : tokens;
      return {
        // For a guess no request is too large: such a one has the window to itself.
        tokens: Math.max(leastTokens, Math.min(tokens, about.tpm ?? tokens)),
        leastTokens,
        costNanoUsd: about.price ? costOf(about.price, prompt, ofAll(most)) : 0,
      };
    },
    learn(model, size, usage) {
      const chars = promptChars(size);
      if (usage.inputTokens === null || usage.outputTokens === null || chars === 0) return;
      let learnt = models.get(model);
      if (!learnt) {
        learnt = { tokensPerChar: firstTokensPerChar, prompts: 0, outputs: [], next: 0, high: 0, seen: 0 };
        models.set(model, learnt);
      }
      // Of a prompt with pictures nobody tells how many tokens are those of its text.
      if (!size.hasMedia) {
        learnt.prompts += 1;
        const rate = Math.max(learningRate, 1 / learnt.prompts);
        learnt.tokensPerChar += (usage.inputTokens / chars - learnt.tokensPerChar) * rate;
      }
      learnt.outputs[learnt.next] = Math.ceil(usage.outputTokens / size.choices);
      learnt.next = (learnt.next + 1) % remembered;
      learnt.seen += 1;
      // Sorting at every answer would cost more than it tells.
      if (learnt.seen % knownAfter === 0) {
        const sorted = learnt.outputs.toSorted((a, b) => a - b);
        learnt.high = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * highQuantile))] ?? 0;
      }
    },
  };
}

/**
 * What is asked of all candidates at once: the most that any of them needs. Only a guess gives way to the least limit of
 * those that have the room: else the only key that works could be too small for what was guessed for another.
 */
export function needOf(estimates: (Estimate & Pick<ModelFacts, 'tpm'>)[]): Pick<Estimate, 'tokens' | 'costNanoUsd'> {
  const room = Math.min(...estimates.flatMap(({ tokens, tpm }) => (tpm !== null && tokens <= tpm ? [tpm] : [])));
  return {
    tokens: Math.max(...estimates.map(({ tokens, leastTokens }) => Math.max(leastTokens, Math.min(tokens, room)))),
    costNanoUsd: Math.max(...estimates.map(({ costNanoUsd }) => costNanoUsd)),
  };
}

function promptChars({ textChars, messages }: RequestSize): number {
  return textChars + messages * charsPerMessage;
}
