/**
 * What an input will use, before any of it is sent: tokens and money per requested model, in one pass over the file and
 * with a few numbers per model in memory. Ranges, not guesses: the low end is what it hardly stays under, the high end
 * what it hardly exceeds. Retries are not in it.
 */
import type { Price } from '../config.ts';
import { sizeOf } from '../provider/request-size.ts';
import { costOf } from '../provider/usage.ts';
import type { InputFile } from './input.ts';
import { eachLine, readChunks } from './lines.ts';
import { parseRequest, type CompletionRequest, type RequestDefaults } from './request.ts';
import { addRanges, sendingTime, type KeyLimits, type Range, type SendingTime } from './sending-time.ts';

/** What is known of a requested model before its requests are looked at. */
export type ModelPlan = {
  /** Ids that it means, on one key or the other. */
  resolved: string[];
  /** False: surely no key offers it, and nothing will be sent. */
  isOffered: boolean;
  /** Of everything that it may be resolved to; null where one price is unknown: then the cost is. */
  prices: Price[] | null;
  /** The length that a quarter of its answers have stayed under; null: not known. */
  shortAnswerTokens: number | null;
  contextLength: number | null;
  /** Of the keys that offer it. */
  keys: KeyLimits[];
};

export type Uses = {
  requests: number;
  promptTokens: Range;
  completionTokens: Range;
  /** Billionths of a dollar; null: unknown. In a sum: of the part that is known, and null where none is. */
  costNanoUsd: Range | null;
  time: SendingTime;
};

export type ModelEstimate = Uses & { requested: string; plan: ModelPlan };

export type InputEstimate = {
  models: ModelEstimate[];
  /** Of what is offered. */
  total: Uses & { unpricedRequests: number };
  /** Lines of which no request could be made; they are in no sum. */
  invalid: number;
  /** Requests for models that no key offers; they are in no sum. */
  notOffered: number;
  /** Requests without max_tokens. */
  unbounded: number;
  /** Requests with pictures or files, whose tokens are not counted. */
  withMedia: number;
};

/** Prose is four to six characters a token; code, numbers and other scripts are three bytes or less. */
export const mostCharsPerToken = 6;
export const fewestBytesPerToken = 3;
/** Roles and separators. */
export const mostTokensPerMessage = 8;
/** Where nothing is known of a model's answers: so many tokens, or this part of what is allowed where that is less. */
export const assumedShortAnswerTokens = 50;
const assumedShortPart = 0.25;
/** The high end of an answer without max_tokens; what the workers reserve for it, too. */
export const assumedMaxTokens = 4096;

/** Names beyond these share one row, as in validate.ts. */
const mostModels = 1000;
const otherModels = '…';

const chunkLimits = { fromOffset: 0, fromLine: 1, maxLines: 8192, maxBytes: 256 * 1024 };

type Sums = { requests: number; prompt: Range; completion: Range };

export async function estimateInput(
  input: InputFile,
  options: { defaults: RequestDefaults; planOf: (model: string) => ModelPlan },
): Promise<InputEstimate> {
  const byModel = new Map<string, { plan: ModelPlan; sums: Sums }>();
  const counts = { invalid: 0, unbounded: 0, withMedia: 0 };
  for await (const chunk of readChunks(input, chunkLimits)) {
    eachLine(chunk, (text, line) => {
      const parsed = parseRequest(text, line, options.defaults);
      if (!parsed.ok) {
        counts.invalid += 1;
        return;
      }
      const { request } = parsed;
      const name = byModel.has(request.model) || byModel.size < mostModels ? request.model : otherModels;
      let model = byModel.get(name);
      if (!model) byModel.set(name, (model = { plan: options.planOf(name), sums: noSums() }));
      const size = measure(request, model.plan);
      model.sums.requests += 1;
      model.sums.prompt = addRanges(model.sums.prompt, size.prompt);
      model.sums.completion = addRanges(model.sums.completion, size.completion);
      if (size.isUnbounded) counts.unbounded += 1;
      if (size.hasMedia) counts.withMedia += 1;
    });
  }
  await input.assertUnchanged();
  const models = [...byModel].map(([requested, { plan, sums }]) => {
    return { requested, plan, ...usesOf(plan, sums), time: sendingTime([demandOf(plan, sums)]) };
  });
  const offered = [...byModel.values()].filter(({ plan }) => plan.isOffered);
  return {
    models: models.toSorted((a, b) => b.requests - a.requests),
    total: totalOf(
      models.filter(({ plan }) => plan.isOffered),
      sendingTime(offered.map(({ plan, sums }) => demandOf(plan, sums))),
    ),
    ...counts,
    notOffered: models.reduce((sum, { plan, requests }) => sum + (plan.isOffered ? 0 : requests), 0),
  };
}

/** Of one request. */
export function measure(
  { body }: Pick<CompletionRequest, 'body'>,
  plan: Pick<ModelPlan, 'shortAnswerTokens' | 'contextLength'>,
): { prompt: Range; completion: Range; isUnbounded: boolean; hasMedia: boolean } {
  const { textChars, textBytes, messages, hasMedia, maxTokens, choices } = sizeOf(body);
  const prompt = {
    low: Math.ceil(textChars / mostCharsPerToken),
    high: Math.ceil(textBytes / fewestBytesPerToken) + messages * mostTokensPerMessage,
  };
  const most = maxTokens ?? mostWithout(plan.contextLength, prompt.low);
  const assumed = Math.min(assumedShortAnswerTokens, Math.ceil(most * assumedShortPart));
  const least = Math.min(most, plan.shortAnswerTokens ?? assumed);
  return {
    prompt,
    completion: { low: least * choices, high: most * choices },
    isUnbounded: maxTokens === null,
    hasMedia,
  };
}

function mostWithout(contextLength: number | null, promptTokens: number): number {
  return contextLength === null
    ? assumedMaxTokens
    : Math.min(assumedMaxTokens, Math.max(1, contextLength - promptTokens));
}

function noSums(): Sums {
  return { requests: 0, prompt: { low: 0, high: 0 }, completion: { low: 0, high: 0 } };
}

function usesOf({ prices }: ModelPlan, { requests, prompt, completion }: Sums) {
  const costs = (end: 'low' | 'high') => (prices ?? []).map((price) => costOf(price, prompt[end], completion[end]));
  const isKnown = prices !== null && prices.length > 0;
  const costNanoUsd = isKnown ? { low: Math.min(...costs('low')), high: Math.max(...costs('high')) } : null;
  return { requests, promptTokens: prompt, completionTokens: completion, costNanoUsd };
}

function demandOf({ keys }: ModelPlan, { requests, prompt, completion }: Sums) {
  const most = { low: completion.high, high: completion.high };
  return { requests, tokens: addRanges(prompt, completion), requestedTokens: addRanges(prompt, most), keys };
}

function totalOf(models: readonly ModelEstimate[], time: SendingTime): InputEstimate['total'] {
  const none = { low: 0, high: 0 };
  const sum = (ranges: (Range | null)[]) => ranges.reduce<Range>((all, range) => addRanges(all, range ?? none), none);
  const priced = models.filter(({ costNanoUsd }) => costNanoUsd !== null);
  const requests = models.reduce((all, model) => all + model.requests, 0);
  return {
    requests,
    promptTokens: sum(models.map(({ promptTokens }) => promptTokens)),
    completionTokens: sum(models.map(({ completionTokens }) => completionTokens)),
    costNanoUsd: priced.length > 0 ? sum(priced.map(({ costNanoUsd }) => costNanoUsd)) : null,
    unpricedRequests: requests - priced.reduce((all, model) => all + model.requests, 0),
    time,
  };
}
