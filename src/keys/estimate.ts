/**
 * What a request will use, before it is sent: tokens for the window, money for the budgets. Learnt from the answers of
 * this process, per model; cautious until something is known. Money is always reserved by `max_tokens`.
 */
import type { Price } from '../config.ts';
import { costOf, type Usage } from '../provider/usage.ts';

export type RequestSize = {
  /** Characters of the serialised messages. */
  promptChars: number;
  /** `max_tokens` (or `max_completion_tokens`) of the request, where it has one. */
  maxTokens: number | null;
};

export type Estimate = { tokens: number; costNanoUsd: number };

export type Estimator = {
  estimate: (model: string, size: RequestSize, about: ModelFacts) => Estimate;
  learn: (model: string, size: RequestSize, usage: Usage) => void;
};

export type ModelFacts = {
  price: Price | null;
  contextLength: number | null;
  /** OpenAI's limit counts the `max_tokens` asked for; the default is what is really used. */
  tpmCounts: 'used' | 'requested';
};

/** English text is about a quarter of a token per character; other scripts reach one. Start high, learn down. */
const firstTokensPerChar = 0.5;
/** How fast the ratio follows: the mean of about the last fifty answers. */
const learningRate = 0.02;
/** Completion lengths remembered per model; their 95th percentile is the estimate. */
const remembered = 256;
const knownAfter = 20;
const highQuantile = 0.95;
/** A request without `max_tokens` on a model without a known context. */
const assumedMaxTokens = 4096;

type Learnt = { tokensPerChar: number; outputs: number[]; next: number; high: number; seen: number };

export function createEstimator(): Estimator {
  const models = new Map<string, Learnt>();
  return {
    estimate(model, size, about) {
      const learnt = models.get(model);
      const prompt = Math.ceil(size.promptChars * (learnt?.tokensPerChar ?? firstTokensPerChar));
      const room = about.contextLength === null ? assumedMaxTokens : Math.max(1, about.contextLength - prompt);
      const most = size.maxTokens ?? Math.min(room, assumedMaxTokens);
      const known = learnt !== undefined && learnt.seen >= knownAfter && about.tpmCounts === 'used';
      const completion = known ? Math.min(most, learnt.high) : most;
      return {
        tokens: prompt + completion,
        costNanoUsd: about.price ? costOf(about.price, prompt, most) : 0,
      };
    },
    learn(model, size, usage) {
      if (usage.inputTokens === null || usage.outputTokens === null || size.promptChars === 0) return;
      let learnt = models.get(model);
      if (!learnt)
        models.set(model, (learnt = { tokensPerChar: firstTokensPerChar, outputs: [], next: 0, high: 0, seen: 0 }));
      const ratio = usage.inputTokens / size.promptChars;
      const rate = Math.max(learningRate, 1 / (learnt.seen + 1));
      learnt.tokensPerChar += (ratio - learnt.tokensPerChar) * rate;
      learnt.outputs[learnt.next] = usage.outputTokens;
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
