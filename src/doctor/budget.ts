/**
 * Is there money left? Where the provider tells without being paid for it (PrivateMind's usage page, Curate-Me's daily
 * headers), what it tells; and what our own Redis remembers of earlier refusals and of the budgets we keep ourselves.
 */
import { z } from 'zod';
import { nanoUsdPerUsd } from '../config.ts';
import { formatCounted, formatUsd } from '../ledger/report.ts';
import { parseJson } from '../provider/answer.ts';
import type { Timed } from './asking.ts';
import { about, type Finding } from './finding.ts';
import type { Patient } from './key-form.ts';
import type { Memory } from './memory.ts';

const usageSchema = z.object({
  data: z.array(
    z.object({
      cost_usd: z.number().nullish().catch(null),
      status_code: z.number().nullish().catch(null),
      created_at: z.string().nullish().catch(null),
    }),
  ),
});
const usagePageSize = 100;
/** Above this part of a budget it is nearly spent. */
const nearlyPart = 0.9;

/** PrivateMind's own page of what the key has spent since the 1st, when its budgets started anew. */
export function usagePath(nowMs: number): string {
  return `/v1/usage?from=${new Date(nowMs).toISOString().slice(0, 8)}01&limit=${usagePageSize}`;
}

/** Of that page; [] where it says nothing of money. */
export function checkUsage({ key }: Patient, page: Timed): Finding[] {
  if (page.answer.tag !== 'http' || page.answer.status !== 200) return [];
  const parsed = usageSchema.safeParse(parseJson(page.answer.body));
  if (!parsed.success) return [];
  const say = about('budget', key.name);
  const calls = parsed.data.data.toSorted((a, b) => (b.created_at ?? '').localeCompare(a.created_at ?? ''));
  const spent = calls.reduce((sum, { cost_usd }) => sum + (cost_usd ?? 0), 0);
  const usd = formatUsd(Math.round(spent * nanoUsdPerUsd));
  const isAll = calls.length < usagePageSize;
  const evidence = `${isAll ? usd : `at least ${usd}`} this month, in ${isAll ? '' : 'its last '}${formatCounted(calls.length, 'call')}`;
  if (calls[0]?.status_code !== 402) return [say.ok('the provider reports no refusal for money', evidence)];
  const cure = 'raise the key\u2019s budget (Settings → API Keys), or the organisation\u2019s; then try it with --send';
  return [say.warning('its last call was refused for money', `${evidence}; the last one answered 402`, cure)];
}

/** Curate-Me's `X-CM-Daily-Cost` and `X-CM-Daily-Budget`, on whichever answer they came. */
export function checkDailyHeaders({ key }: Patient, headers: readonly Record<string, string>[]): Finding[] {
  const told = headers.findLast((each) => each['x-cm-daily-budget'] !== undefined);
  const budget = Number(told?.['x-cm-daily-budget'] ?? Number.NaN);
  const cost = Number(told?.['x-cm-daily-cost'] ?? Number.NaN);
  if (!(budget > 0) || !Number.isFinite(cost)) return [];
  const say = about('budget', key.name);
  const evidence = `X-CM-Daily-Cost ${cost} of X-CM-Daily-Budget ${budget} USD`;
  const cure = 'raise the organisation\u2019s daily limit, or wait until it starts anew (at 00:00 UTC)';
  if (cost >= budget) return [say.problem('the organisation\u2019s budget is exhausted for today', evidence, cure)];
  if (cost >= budget * nearlyPart) return [say.warning('the organisation\u2019s day is nearly spent', evidence, cure)];
  return [say.ok('the organisation has money left today', evidence)];
}

/** Budgets of the configuration, by what has been spent through this Redis. */
export function checkOwnBudgets(
  { key }: Patient,
  { standing, spentTodayNanoUsd }: Memory,
  dailyBudgetNanoUsd: number | null,
): Finding[] {
  const say = about('budget', key.name);
  const findings: Finding[] = [];
  const compare = (name: string, spent: number, budget: number | null, cure: string) => {
    if (budget === null || spent < budget * nearlyPart) return;
    const evidence = `${formatUsd(spent)} of ${formatUsd(budget)} (${name}) are spent or reserved`;
    if (spent >= budget) findings.push(say.problem(`our own ${name} is spent`, evidence, cure));
    else findings.push(say.warning(`our own ${name} is nearly spent`, evidence, cure));
  };
  const { spentNanoUsd, reservedNanoUsd } = standing;
  compare('budgetUsd', spentNanoUsd + reservedNanoUsd, key.budgetNanoUsd, `raise keys[].budgetUsd of "${key.name}"`);
  compare('dailyBudgetUsd', spentTodayNanoUsd, dailyBudgetNanoUsd, 'raise dailyBudgetUsd, or wait until 00:00 UTC');
  return findings;
}

const moneyReasons = new Set(['exhausted', 'org_exhausted']);

/** `isWell`: the provider has just accepted the key, so what is remembered of it may be over. */
export function checkStanding({ key }: Patient, { standing: now }: Memory, isWell: boolean): Finding[] {
  const isMoney = moneyReasons.has(now.reason);
  const say = about(isMoney ? 'budget' : 'key', key.name);
  const until = now.untilMs === null ? '' : ` until ${new Date(now.untilMs).toISOString()}`;
  const reason = now.reason === '' ? '' : ` (${now.reason})`;
  const evidence = `our Redis remembers: ${now.standing.replace('_', '-')}${reason}${until}`;
  const resume = `nightshift keys resume ${key.name}`;
  switch (now.standing) {
    case 'active':
      return [];
    case 'draining':
      return [say.warning('a person took it out of service', evidence, resume)];
    case 'cooling':
    case 'half_open':
      return [say.warning('it comes back from trouble', evidence, `wait; to hurry it: ${resume}`)];
    case 'retired':
      if (isMoney) {
        const whose = now.reason === 'exhausted' ? 'key' : 'organisation';
        const cure = `raise the ${whose}'s budget or wait until it starts anew, then: ${resume}`;
        return [say.problem(`the ${whose}\u2019s budget is exhausted`, evidence, cure)];
      }
      if (isWell) return [say.warning('it is out of service here, though the provider accepts it', evidence, resume)];
      return [say.warning('nightshift sends nothing more on it', evidence, `cure the key, then: ${resume}`)];
    default:
      return now.standing satisfies never;
  }
}
