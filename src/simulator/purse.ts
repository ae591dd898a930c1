/**
 * Budgets and what was spent of them. A key spends out of several purses at once: its own, its session's, its team's
 * and its organisation's. They are compared with what is already booked, and a call is booked when it ends, so calls
 * in flight overshoot, as at the provider.
 */
import { z } from 'zod';
import { nanoUsdOf } from './money.ts';

const usd = z.number().nonnegative().max(1e6);
/** Null: no limit. Zero lets nothing through. */
export const budgetSchema = usd.nullable();

export type PurseKind = 'key' | 'session' | 'team' | 'org';

export type Purse = {
  readonly kind: PurseKind;
  /** Of the key, the team or the organisation. */
  readonly name: string;
  budgetNanoUsd: number | null;
  spentNanoUsd: number;
};

export function createPurse(kind: PurseKind, name: string, budgetUsd: number | null): Purse {
  return { kind, name, budgetNanoUsd: budgetOf(budgetUsd), spentNanoUsd: 0 };
}

/** Whether a budget is used up. */
export function isSpent({ budgetNanoUsd, spentNanoUsd }: Purse): boolean {
  return budgetNanoUsd !== null && spentNanoUsd >= budgetNanoUsd;
}

/** Whether the new budget is higher than the old one. */
export function setBudget(purse: Purse, budgetUsd: number | null): boolean {
  const before = purse.budgetNanoUsd;
  purse.budgetNanoUsd = budgetOf(budgetUsd);
  return before !== null && (purse.budgetNanoUsd === null || purse.budgetNanoUsd > before);
}

/** Books what a call cost. */
export function spend(purses: readonly Purse[], costNanoUsd: number): void {
  for (const purse of purses) purse.spentNanoUsd += costNanoUsd;
}

export function budgetOf(budgetUsd: number | null): number | null {
  return budgetUsd === null ? null : nanoUsdOf(budgetUsd);
}
