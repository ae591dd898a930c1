/**
 * The ledger as its users see it: rows go in, sums come out. What a store promises is here and is held by one contract
 * test for every database; how it keeps the promise is in sqlite.ts. Asynchronous, so that a database elsewhere fits.
 * Every sum is exact. Unknown is never 0: a cost nobody told is counted (`costUnknown`), not guessed.
 */
import type { LedgerEntry, LedgerOutcome } from './entry.ts';

/** What a set of attempts adds up to. */
export type Totals = {
  /** `completed + failed`. */
  attempts: number;
  completed: number;
  /** Every attempt that did not complete, whatever the reason; `outcomes` tells the reasons apart. */
  failed: number;
  /** Every outcome is there, with 0 where there was none. */
  outcomes: Record<LedgerOutcome, number>;
  inputTokens: number;
  outputTokens: number;
  cachedTokens: number;
  reasoningTokens: number;
  /**
   * The sum of the known costs; null when none is known although something was or may have been billed. A bigint: one
   * cost fits into a number, the sum of many need not.
   */
  costNanoUsd: bigint | null;
  /** Completed attempts whose cost is unknown: the real sum is higher than `costNanoUsd`. */
  costUnknown: number;
  /** Attempts that were sent and of which no whole answer was seen: the provider may have billed them. */
  possiblyBilled: number;
};

export const usageGroupings = ['key', 'model', 'day', 'batch'] as const;
export type UsageGrouping = (typeof usageGroupings)[number];

export type UsageQuery = {
  /**
   * `key`: one row per key, under its name (with the keyId where two keys bore one name); `model`: the resolved model;
   * `day`: the UTC day of sending; `batch`: the batch id; null: one row `total`, even when nothing matches.
   */
  by: UsageGrouping | null;
  batchId?: string | undefined;
  /** First UTC day, `YYYY-MM-DD`. */
  from?: string | undefined;
  /** Last UTC day, `YYYY-MM-DD`, itself included. */
  to?: string | undefined;
};

export type UsageRow = Totals & { label: string };

export type BatchSummary = Totals & {
  batchId: string;
  /** Error code → attempts that ended with it; attempts without a code are only in `outcomes`. */
  errorCodes: Record<string, number>;
  models: { requested: string; resolved: string; completed: number }[];
  keys: (Totals & { name: string; keyId: string; provider: string })[];
};

export type LedgerStore = {
  /** This ledger's own, for ever: batches carry it, so that several ledgers can share a Redis. */
  readonly id: string;
  /** False: it is made by the first question for its id or its rows. Until then no batch has it for its ledger. */
  readonly isThere: boolean;
  /** The data directory that it is in, absolute: for who looks for it. */
  readonly directory: string;
  /**
   * Inserts all or none; durable when it resolves. An attempt id that is there already stays as it is, except that an
   * `unknown` row gives way to a known outcome. Errors: AppError `disk`.
   */
  insert(entries: readonly LedgerEntry[]): Promise<void>;
  /** Sorted by label. */
  usage(query: UsageQuery): Promise<UsageRow[]>;
  /** All zeros for a batch without attempts. */
  batchSummary(batchId: string): Promise<BatchSummary>;
  close(): Promise<void>;
};
