/**
 * A ledger entry: one row per attempt, that is per HTTP call to a provider. The attempt id is the primary key, so
 * writing an entry twice is harmless; an `unknown` row (no answer seen before a crash) is replaced when the answer
 * turns up late after all, and never the other way round.
 */
import { z } from 'zod';

export const ledgerOutcomes = [
  /** An answer came. */
  'completed',
  /** This request can never succeed (400, 413, 422, policy). */
  'rejected',
  /** 429 by rate or concurrency. */
  'rate_limited',
  /** 402, or a 429 that means a spent quota. */
  'exhausted',
  /** 401. */
  'unauthorized',
  /** The model is not there, or not for this key. */
  'model_unavailable',
  /** 202: waits for a person's approval. */
  'held',
  /** 5xx, time-out, network, a cut or garbled answer. Possibly billed where the cost's source is `unanswered`. */
  'failed',
  /** No answer seen before a crash: possibly billed. */
  'unknown',
] as const;
export type LedgerOutcome = (typeof ledgerOutcomes)[number];

export const costSources = ['provider', 'listing', 'configured', 'none', 'unanswered'] as const;
/**
 * Where a cost comes from, in order of trust. `none`: the price is unknown, and so is the cost (null, never 0).
 * `unanswered`: the call was sent, and no whole answer came (time-out, cut, garbled): possibly billed.
 */
export type CostSource = (typeof costSources)[number];

const count = z.number().int().nonnegative();
/** The last millisecond of the year 9999: as ISO text a later time would not sort after an earlier one. */
const latestStartMs = Date.UTC(10_000, 0, 1) - 1;

export const ledgerEntrySchema = z.object({
  attemptId: z.string(),
  batchId: z.string(),
  customId: z.string(),
  /** 1-based line of the input file. */
  line: count,
  provider: z.string(),
  keyId: z.string(),
  keyName: z.string(),
  requestedModel: z.string(),
  resolvedModel: z.string(),
  outcome: z.enum(ledgerOutcomes),
  httpStatus: count.nullable(),
  errorCode: z.string().nullable(),
  /** When the call was sent, Unix milliseconds. */
  startedAtMs: count.max(latestStartMs),
  durationMs: count.nullable(),
  /** From sending to the first token, where the answer was streamed. Entries of earlier versions have none. */
  firstTokenMs: count.nullable().default(null),
  inputTokens: count.nullable(),
  outputTokens: count.nullable(),
  cachedTokens: count.nullable(),
  reasoningTokens: count.nullable(),
  /** Billionths of a US dollar; null when unknown. */
  costNanoUsd: count.nullable(),
  costSource: z.enum(costSources),
  /** The provider's id of the call (header or body), where it gave one. */
  requestId: z.string().nullable(),
});
export type LedgerEntry = z.infer<typeof ledgerEntrySchema>;
