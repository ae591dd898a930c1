/**
 * What the simulator says about what happened: the figures that tests hold a ledger against. Plain data, fit for JSON.
 * account.ts keeps them.
 */
import type { FaultKind } from './faults.ts';
import type { RefusalReason } from './refusal.ts';

export type KeyTruth = {
  org: string;
  /** Authenticated completion calls received, whatever became of them. */
  calls: number;
  /** Whole, right answers (200) that left, and those that a poll fetched after an approval. */
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
  /** Refusals by their reason, scripted ones too. */
  refusals: Partial<Record<RefusalReason, number>>;
  /** 429s of the window. Scripted ones are under `faults`. */
  rejected429: number;
  /** The most calls, and tokens, the window let in within any trailing `windowMs`. */
  maxInWindow: number;
  maxTokensInWindow: number;
  /** Calls that arrived after the key was told that its budget is spent; starts anew when the budget is raised. */
  callsAfter402: number;
  /** Calls let in that have not ended: not answered, or still generating for a client that has gone. */
  inFlight: number;
  maxInFlight: number;
};

export type TeamTruth = {
  billed: number;
  costNanoUsd: number;
  /** As for an organisation. */
  callsAfterCap: number;
};

export type OrgTruth = {
  billed: number;
  costNanoUsd: number;
  /**
   * Calls that arrived after one of its keys was told that the organisation's budget, or its plan's quota, is spent;
   * starts anew when the budget is raised or its day begins.
   */
  callsAfterOrgCap: number;
};

export type ApprovalTruth = {
  /** Requests held for a person's approval: answered 202, and neither forwarded nor charged. */
  held: number;
  polls: number;
  /** Forwarded and charged by this, whether or not a poll has fetched the answer. */
  approved: number;
  rejected: number;
  /** Approved, and fetched by a poll. */
  collected: number;
  /** Calls whose prompt had been held before: the same request, sent again. */
  sentAgain: number;
};

export type ModelTruth = { calls: number; billed: number };

export type Truth = {
  keys: Record<string, KeyTruth>;
  orgs: Record<string, OrgTruth>;
  teams: Record<string, TeamTruth>;
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
  approvals: ApprovalTruth;
  events: { applied: number; failed: string[] };
  /** Fingerprint of the last user message → billed calls. Null unless the scenario says `trackRequests`. */
  byRequest: Record<string, number> | null;
};

export function emptyTotals(): Truth['totals'] {
  const none = { answered: 0, billed: 0, billedUnanswered: 0, inputTokens: 0, outputTokens: 0, costNanoUsd: 0 };
  return { calls: 0, ...none, rejected429: 0, inFlight: 0, statuses: {} };
}

export function emptyKey(org: string): KeyTruth {
  return {
    ...emptyTotals(),
    org,
    billedUnanswered: {},
    refusals: {},
    maxInWindow: 0,
    maxTokensInWindow: 0,
    callsAfter402: 0,
    maxInFlight: 0,
  };
}
