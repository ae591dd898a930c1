/**
 * What an answer means: one closed union, produced purely by classify.ts and consumed by one exhaustive switch
 * (workers/act.ts). A value, not an error: every one of these is expected.
 */
import type { LedgerOutcome } from '../ledger/entry.ts';

export const retireReasons = [
  'exhausted',
  'org_exhausted',
  'revoked',
  'expired',
  'invalid',
  'trial_ended',
  'rotated',
  'suspended',
] as const;
export type RetireReason = (typeof retireReasons)[number];

type Cause = {
  /** The provider's code, else one of ours; machine-readable, lower case. */
  code: string;
  /** The provider's own words, capped and redacted. */
  message: string;
};

export type Outcome =
  /** An answer with choices. */
  | { tag: 'complete' }
  /** This request can never succeed. */
  | ({ tag: 'reject' } & Cause)
  /** Failed, may succeed: one attempt spent. Says nothing about the key. */
  | ({ tag: 'retry'; retryAfterMs: number | null } & Cause)
  /** 429: the key cools. */
  | ({ tag: 'rate_limited'; retryAfterMs: number | null } & Cause)
  /** 429 by concurrency: fewer calls at once on this key; no attempt spent. */
  | ({ tag: 'too_many_at_once'; retryAfterMs: number | null } & Cause)
  /** Refused for a moment, by a budget for calls in flight: the key waits, no attempt spent. */
  | ({ tag: 'snooze'; retryAfterMs: number | null } & Cause)
  /** 202: a person must approve it. Never sent again; its approval is asked for. */
  | ({ tag: 'held'; approvalId: string } & Cause)
  /**
   * The key may not send until a person acts or, where known, for so long from this answer on: a time of day would be read
   * by another clock than ours.
   */
  | ({ tag: 'key_retired'; reason: RetireReason; backInMs: number | null } & Cause)
  /** The same for all keys of its organisation. */
  | ({ tag: 'org_retired'; reason: RetireReason; backInMs: number | null } & Cause)
  /** The model is not there, or not for this key. */
  | ({ tag: 'model_unavailable' } & Cause)
  /** Wrong host or path: nothing will work until the configuration changes. */
  | ({ tag: 'misconfigured' } & Cause);

export function ledgerOutcomeOf(outcome: Outcome): LedgerOutcome {
  switch (outcome.tag) {
    case 'complete':
      return 'completed';
    case 'reject':
      return 'rejected';
    case 'retry':
    case 'misconfigured':
      return 'failed';
    case 'rate_limited':
    case 'too_many_at_once':
      return 'rate_limited';
    case 'snooze':
      return 'exhausted';
    case 'held':
      return 'held';
    case 'key_retired':
    case 'org_retired':
      return outcome.reason === 'exhausted' || outcome.reason === 'org_exhausted' ? 'exhausted' : 'unauthorized';
    case 'model_unavailable':
      return 'model_unavailable';
    default:
      return outcome satisfies never;
  }
}
