/**
 * Changes to a running simulator, as they are written: what a person does at the provider's console (revoke a key, raise
 * a budget, approve a request), what the provider does by itself (move an alias, take a model away), and what a test
 * scripts (faults, latency). control.ts applies them.
 */
import { z } from 'zod';
import { AppError } from '../errors.ts';
import { decisionSchema } from './approvals.ts';
import { modelSchema } from './catalogue.ts';
import { faultSchema } from './faults.ts';
import { describeIssues } from './issues.ts';
import { instantSchema, limitSchema } from './key-settings.ts';
import { latencySchema } from './latency.ts';
import { budgetSchema } from './purse.ts';
import type { RefusalReason } from './refusal.ts';

const key = z.string();

export const changeSchema = z.discriminatedUnion(
  'change',
  [
    z.strictObject({ change: z.literal('revoke_key'), key }),
    /** At once, or at the given time. */
    z.strictObject({ change: z.literal('expire_key'), key, at: instantSchema.optional() }),
    /** In good standing again: neither revoked nor expired, nor rotated, nor at the end of its trial. */
    z.strictObject({ change: z.literal('restore_key'), key }),
    z.strictObject({ change: z.literal('set_key_budget'), key, budgetUsd: budgetSchema }),
    z.strictObject({ change: z.literal('set_key_rpm'), key, rpm: limitSchema }),
    z.strictObject({ change: z.literal('set_key_tpm'), key, tpm: limitSchema }),
    /** Null: all models. */
    z.strictObject({ change: z.literal('restrict_key'), key, allowedModels: z.array(z.string()).nullable() }),
    z.strictObject({ change: z.literal('set_org_budget'), org: z.string(), budgetUsd: budgetSchema }),
    z.strictObject({ change: z.literal('set_team_budget'), team: z.string(), budgetUsd: budgetSchema }),
    z.strictObject({ change: z.literal('set_session_budget'), key, budgetUsd: budgetSchema }),
    z.strictObject({ change: z.literal('set_in_flight_budget'), key, budgetUsd: budgetSchema }),
    z.strictObject({ change: z.literal('set_key_concurrency'), key, maxConcurrent: limitSchema }),
    /** Null: all addresses. */
    z.strictObject({ change: z.literal('set_allowed_ips'), key, allowedIps: z.array(z.string()).nullable() }),
    /** There is a new key now; this one works for `graceMs` longer. */
    z.strictObject({ change: z.literal('rotate_key'), key, graceMs: z.number().nonnegative().default(0) }),
    z.strictObject({ change: z.literal('end_trial'), key }),
    z.strictObject({ change: z.literal('suspend_org'), org: z.string() }),
    z.strictObject({ change: z.literal('restore_org'), org: z.string() }),
    z.strictObject({ change: z.literal('set_daily_calls'), org: z.string(), dailyCalls: limitSchema }),
    /** As if it were 00:00 UTC: nothing spent today, no calls yet. */
    z.strictObject({ change: z.literal('reset_daily_budget'), org: z.string() }),
    /** Of all that are pending, where no approval is named. */
    z.strictObject({ change: z.literal('decide_approval'), approval: z.string().optional(), decision: decisionSchema }),
    z.strictObject({ change: z.literal('move_alias'), alias: z.string().min(1), to: z.string() }),
    z.strictObject({ change: z.literal('remove_model'), model: z.string() }),
    /** Or replace the one of that id. */
    z.strictObject({ change: z.literal('add_model'), model: modelSchema }),
    z.strictObject({ change: z.literal('set_faults'), faults: z.array(faultSchema) }),
    z.strictObject({ change: z.literal('set_latency'), latencyMs: latencySchema }),
  ],
  { error: (issue) => (issue.code === 'invalid_union' ? `expected one of ${changeNames().join(', ')}` : undefined) },
);
export type Change = z.output<typeof changeSchema>;
export type ControlChange = z.input<typeof changeSchema>;

const needs: Partial<Record<Change['change'], RefusalReason>> = {
  set_team_budget: 'team_budget',
  set_session_budget: 'session_budget',
  set_in_flight_budget: 'in_flight_budget',
  set_key_concurrency: 'concurrency',
  set_allowed_ips: 'ip_not_allowed',
  rotate_key: 'key_rotated',
  end_trial: 'trial_ended',
  suspend_org: 'org_suspended',
  restore_org: 'org_suspended',
  set_daily_calls: 'plan_quota',
  reset_daily_budget: 'plan_quota',
  decide_approval: 'unknown_approval',
};

/** The refusal a change may lead to: a provider that never refuses so has no such change. Null: all have it. */
export function needOf({ change }: Change): RefusalReason | null {
  return needs[change] ?? null;
}

function changeNames(): string[] {
  return changeSchema.options.flatMap((option) => [...option.shape.change.values]);
}

/** One change or a list of them. Errors: `usage`, naming the field. */
export function parseChanges(input: unknown): Change[] {
  const several = Array.isArray(input);
  const parsed = z.array(changeSchema).safeParse(several ? input : [input]);
  if (parsed.success) return parsed.data;
  const lines = describeIssues(parsed.error).map((line) => (several ? line : line.replace(/^\[0\]\.?/, '')));
  throw new AppError('usage', `not a valid control change: ${lines.join('; ')}`);
}
