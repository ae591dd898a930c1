/**
 * Changes to a running simulator: what a person does at the provider's console (revoke a key, raise a budget), what the
 * provider does by itself (move an alias, take a model away), and what a test scripts (faults, latency). They take
 * effect at once, for every call that is checked afterwards.
 */
import { z } from 'zod';
import { AppError } from '../errors.ts';
import { modelSchema } from './catalogue.ts';
import { faultSchema } from './faults.ts';
import { describeIssues } from './issues.ts';
import { budgetOf, budgetSchema, instantSchema, limitSchema, type Key } from './keyring.ts';
import { latencySchema } from './latency.ts';
import type { World } from './world.ts';

const key = z.string();

export const changeSchema = z.discriminatedUnion(
  'change',
  [
    z.strictObject({ change: z.literal('revoke_key'), key }),
    /** At once, or at the given time. */
    z.strictObject({ change: z.literal('expire_key'), key, at: instantSchema.optional() }),
    /** Neither revoked nor expired any longer. */
    z.strictObject({ change: z.literal('restore_key'), key }),
    z.strictObject({ change: z.literal('set_key_budget'), key, budgetUsd: budgetSchema }),
    z.strictObject({ change: z.literal('set_key_rpm'), key, rpm: limitSchema }),
    z.strictObject({ change: z.literal('set_key_tpm'), key, tpm: limitSchema }),
    /** Null: all models. */
    z.strictObject({ change: z.literal('restrict_key'), key, allowedModels: z.array(z.string()).nullable() }),
    z.strictObject({ change: z.literal('set_org_budget'), org: z.string(), budgetUsd: budgetSchema }),
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

/** Errors: `usage`, for a name the simulator does not know; nothing is changed then. */
export function applyChange(world: World, change: Change): void {
  switch (change.change) {
    case 'revoke_key':
      keyNamed(world, change.key).revoked = true;
      return;
    case 'expire_key':
      keyNamed(world, change.key).expiresAtMs = change.at ?? world.now();
      return;
    case 'restore_key':
      Object.assign(keyNamed(world, change.key), { revoked: false, expiresAtMs: null });
      return;
    case 'set_key_budget': {
      const changed = keyNamed(world, change.key);
      if (setBudget(changed, change.budgetUsd)) world.account.keyBudgetRaised(changed.name);
      return;
    }
    case 'set_key_rpm':
      keyNamed(world, change.key).rpm = change.rpm;
      return;
    case 'set_key_tpm':
      keyNamed(world, change.key).tpm = change.tpm;
      return;
    case 'restrict_key':
      keyNamed(world, change.key).allowedModels = change.allowedModels && new Set(change.allowedModels);
      return;
    case 'set_org_budget': {
      const org = world.keyring.org(change.org);
      if (!org) throw unknown('organisation', change.org, world.keyring.orgs());
      if (setBudget(org, change.budgetUsd)) world.account.orgBudgetRaised(org.name);
      return;
    }
    case 'move_alias':
      if (!world.catalogue.moveAlias(change.alias, change.to)) throw unknownModel(world, change.to);
      return;
    case 'remove_model':
      if (!world.catalogue.remove(change.model)) throw unknownModel(world, change.model);
      return;
    case 'add_model':
      world.catalogue.add(change.model);
      return;
    case 'set_faults':
      for (const name of change.faults.flatMap((fault) => fault.keys ?? [])) keyNamed(world, name);
      world.faults.replace(change.faults);
      return;
    case 'set_latency':
      world.latencyMs = change.latencyMs;
      return;
    default:
      change satisfies never;
  }
}

/** Whether the new budget is higher than the old one. */
function setBudget(purse: { budgetNanoUsd: number | null }, budgetUsd: number | null): boolean {
  const before = purse.budgetNanoUsd;
  purse.budgetNanoUsd = budgetOf(budgetUsd);
  return before !== null && (purse.budgetNanoUsd === null || purse.budgetNanoUsd > before);
}

function keyNamed(world: World, name: string): Key {
  const found = world.keyring.byName(name);
  if (!found) throw unknown('key', name, world.keyring.keys());
  return found;
}

function unknownModel(world: World, id: string): AppError {
  return unknown(
    'model',
    id,
    world.catalogue.list().map((model) => ({ name: model.id })),
  );
}

function unknown(kind: string, name: string, known: readonly { name: string }[]): AppError {
  return new AppError('usage', `unknown ${kind} "${name}" (known: ${known.map((one) => one.name).join(', ')})`);
}
