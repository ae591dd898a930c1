/**
 * What the simulator says about what happened: the figures that tests hold a ledger against. Plain data, fit for JSON.
 * account.ts keeps them.
 */
import type { FaultKind } from './faults.ts';

export type KeyTruth = {
  org: string;
  /** Authenticated completion calls received, whatever became of them. */
  calls: number;
  /** Whole, right answers (200) that left. */
  answered: number;
  /** Calls charged, whether or not the answer arrived. */
  billed: number;
  /** Of those, the ones whose answer did not leave whole: by fault, or `client_gone`. */
  billedUnanswered: Record<string, number>;
  /** Tokens and cost of the billed calls. */
  inputTokens: number;
  outputTokens: number;
  costNanoUsd: number;
  /** Statuses sent, by number. A hang or a reset sends none. */
  statuses: Record<string, number>;
  /** 429s of the window. Scripted ones are under `faults`. */
  rejected429: number;
  /** The most calls, and tokens, the window let in within any trailing `windowMs`. */
  maxInWindow: number;
  maxTokensInWindow: number;
  /** Calls that arrived after the key's own 402 was sent; starts anew when its budget is raised. */
  callsAfter402: number;
  /** Calls let in that have not ended: not answered, or still generating for a client that has gone. */
  inFlight: number;
  maxInFlight: number;
};

export type OrgTruth = {
  billed: number;
  costNanoUsd: number;
  /** Calls that arrived after the organisation's 402 was sent; starts anew when its budget is raised. */
  callsAfterOrgCap: number;
};

export type ModelTruth = { calls: number; billed: number };

export type Truth = {
  keys: Record<string, KeyTruth>;
  orgs: Record<string, OrgTruth>;
  /** By concrete id: calls the window let in. */
  models: Record<string, ModelTruth>;
  totals: Pick<
    KeyTruth,
    | 'calls'
    | 'answered'
    | 'billed'
    | 'inputTokens'
    | 'outputTokens'
    | 'costNanoUsd'
    | 'rejected429'
    | 'inFlight'
    | 'statuses'
  > & { billedUnanswered: number };
  /** Requests of any kind refused with 401 (those of a revoked or expired key are under `keys` as well). */
  unauthorized: number;
  modelListings: number;
  usageListings: number;
  /** Faults that struck. */
  faults: Partial<Record<FaultKind, number>>;
  events: { applied: number; failed: string[] };
  /** Fingerprint of the last user message → billed calls. Null unless the scenario says `trackRequests`. */
  byRequest: Record<string, number> | null;
};
