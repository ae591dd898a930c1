/**
 * Tells when half, four fifths and nearly all of a budget are spent, each once. Pure. It goes by what is spent, not by
 * what calls in flight have reserved: that comes back in part.
 */
import { formatUsd } from '../ledger/report.ts';

/** Per cent of a budget that are worth a line. */
export const budgetLevels = [50, 80, 95] as const;
export type BudgetLevel = (typeof budgetLevels)[number];

export type Spend = {
  /** Whose budget; another id is another budget, such as the next day's. */
  id: string;
  /** In words, such as `batch tonight`. */
  whose: string;
  /** How it is made larger. */
  setting: string;
  spentNanoUsd: number;
  budgetNanoUsd: number;
};

export type BudgetWarning = Spend & { level: BudgetLevel; message: string };

/**
 * For one run: called with what is spent now, returns what is new. Who passes several levels at once is told of the
 * highest. A budget that was raised, or whose spend starts anew, is not told again of levels it has passed.
 */
export function createBudgetWatch(): (spends: readonly Spend[]) => BudgetWarning[] {
  const told = new Map<string, number>();
  return (spends) =>
    spends.flatMap((spend) => {
      const level = levelOf(spend);
      if (level === null || level <= (told.get(spend.id) ?? 0)) return [];
      told.set(spend.id, level);
      return [{ ...spend, level, message: messageOf(spend) }];
    });
}

function levelOf({ spentNanoUsd, budgetNanoUsd }: Spend): BudgetLevel | null {
  return budgetLevels.findLast((level) => spentNanoUsd * 100 >= budgetNanoUsd * level) ?? null;
}

/** `batch tonight has spent 81 % of its budget: $16.20 of $20.00 (--budget)` */
function messageOf({ whose, setting, spentNanoUsd, budgetNanoUsd }: Spend): string {
  const percent = Math.floor((spentNanoUsd / budgetNanoUsd) * 100);
  const amounts = `${formatUsd(Math.round(spentNanoUsd))} of ${formatUsd(Math.round(budgetNanoUsd))}`;
  return `${whose} has spent ${percent} % of its budget: ${amounts} (${setting})`;
}
