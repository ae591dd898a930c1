/**
 * The checks that a well-formed call must pass, other than those of its form: budgets first, then what the prompt says,
 * then what there is room for. Nothing is counted here. In which order a gateway checks is not documented.
 */
import type { CompletionPlan } from './completion.ts';
import type { Key } from './keyring.ts';
import { isSpent, type PurseKind } from './purse.ts';
import type { Refusal, RefusalReason } from './refusal.ts';
import type { World } from './world.ts';

const budgetReasons: Record<PurseKind, RefusalReason> = {
  key: 'key_budget',
  session: 'session_budget',
  team: 'team_budget',
  org: 'org_budget',
};

export function refuseByBudget(key: Key): Refusal | null {
  for (const purse of key.purses) if (isSpent(purse)) return { reason: budgetReasons[purse.kind], purse };
  const { dailyCalls, callsToday } = key.org;
  return dailyCalls !== null && callsToday >= dailyCalls ? { reason: 'plan_quota' } : null;
}

/** For what the prompt says. Markers are looked for in the body as it came. */
export function refuseByContent({ scenario: { dialect, markers } }: World, text: string): Refusal | null {
  if (!dialect.governs) return null;
  if (text.includes(markers.personalData)) return { reason: 'personal_data' };
  return text.includes(markers.injection) ? { reason: 'prompt_injection' } : null;
}

/** For what there is no room for. `tokens`: as the limit counts them. */
export function refuseByRoom(key: Key, plan: CompletionPlan, tokens: number, nowMs: number): Refusal | null {
  const costNanoUsd = plan.costNanoUsd ?? 0;
  if (key.maxRequestCostNanoUsd !== null && costNanoUsd > key.maxRequestCostNanoUsd) return { reason: 'request_cost' };
  if (key.maxConcurrent !== null && key.inFlight >= key.maxConcurrent) return { reason: 'concurrency' };
  const { inFlightBudgetNanoUsd } = key;
  if (inFlightBudgetNanoUsd !== null && key.inFlightNanoUsd + costNanoUsd > inFlightBudgetNanoUsd) {
    // Until a call ends; nobody knows when.
    return { reason: 'in_flight_budget', retryAfterMs: 1000 };
  }
  if (!key.requests.fits(nowMs, 1, key.rpm)) {
    return {
      reason: 'rate_limit',
      window: 'requests',
      retryAfterMs: waitMs(nowMs, key.requests.fitsAtMs(nowMs, 1, key.rpm)),
    };
  }
  if (!key.tokens.fits(nowMs, tokens, key.tpm)) {
    return {
      reason: 'rate_limit',
      window: 'tokens',
      retryAfterMs: waitMs(nowMs, key.tokens.fitsAtMs(nowMs, tokens, key.tpm)),
    };
  }
  return null;
}

function waitMs(nowMs: number, atMs: number | null): number | null {
  return atMs === null ? null : atMs - nowMs;
}
