/** Applies changes to a running simulator: at once, for every call that is checked afterwards. */
import { AppError } from '../errors.ts';
import { needOf, type Change } from './changes.ts';
import type { Key, Org } from './keyring.ts';
import { budgetOf, setBudget, type Purse } from './purse.ts';
import { foreign } from './scenario-mistakes.ts';
import type { World } from './world.ts';

/** Errors: `usage`, for a name the simulator does not know; nothing is changed then. */
export function applyChange(world: World, change: Change): void {
  const need = needOf(change);
  const { dialect } = world.scenario;
  if ((need && !dialect.knows(need)) || (change.change === 'move_alias' && !dialect.hasAliases)) {
    throw new AppError('usage', `${change.change}: ${foreign(dialect.provider)}`);
  }
  switch (change.change) {
    case 'revoke_key':
      keyNamed(world, change.key).revoked = true;
      return;
    case 'expire_key':
      keyNamed(world, change.key).expiresAtMs = change.at ?? world.now();
      return;
    case 'restore_key':
      Object.assign(keyNamed(world, change.key), standing);
      return;
    case 'rotate_key':
      keyNamed(world, change.key).rotatedAtMs = world.now() + change.graceMs;
      return;
    case 'end_trial':
      keyNamed(world, change.key).trialEnded = true;
      return;
    case 'set_key_budget':
      changeBudget(world, keyNamed(world, change.key).purses[0]!, change.budgetUsd);
      return;
    case 'set_session_budget': {
      const purse = keyNamed(world, change.key).purses.find(({ kind }) => kind === 'session');
      if (!purse) throw new AppError('usage', `key "${change.key}" has no session: give it a "sessionBudgetUsd"`);
      changeBudget(world, purse, change.budgetUsd);
      return;
    }
    case 'set_in_flight_budget':
      keyNamed(world, change.key).inFlightBudgetNanoUsd = budgetOf(change.budgetUsd);
      return;
    case 'set_team_budget': {
      const team = world.keyring.team(change.team);
      if (!team) throw unknown('team', change.team, world.keyring.teams());
      changeBudget(world, team, change.budgetUsd);
      return;
    }
    case 'set_key_concurrency':
      keyNamed(world, change.key).maxConcurrent = change.maxConcurrent;
      return;
    case 'set_allowed_ips':
      keyNamed(world, change.key).allowedIps = change.allowedIps && new Set(change.allowedIps);
      return;
    case 'set_key_rpm':
      keyNamed(world, change.key).rpm = change.rpm;
      return;
    case 'set_key_tpm':
      keyNamed(world, change.key).tpm = change.tpm;
      return;
    case 'restrict_key':
      keyNamed(world, change.key).allowedModels = change.allowedModels && new Set(change.allowedModels);
      return;
    case 'set_org_budget':
      changeBudget(world, orgNamed(world, change.org).purse, change.budgetUsd);
      return;
    case 'suspend_org':
      orgNamed(world, change.org).suspended = true;
      return;
    case 'restore_org':
      orgNamed(world, change.org).suspended = false;
      return;
    case 'set_daily_calls': {
      const org = orgNamed(world, change.org);
      org.dailyCalls = change.dailyCalls;
      world.account.caps.lifted('plan', org.name);
      return;
    }
    case 'reset_daily_budget':
      world.startDayNow(orgNamed(world, change.org));
      return;
    case 'decide_approval': {
      if (world.approvals.decide(change.approval, change.decision)) return;
      const known = world.approvals.ids().map((name) => ({ name }));
      throw unknown('approval', change.approval ?? '', known);
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
      for (const fault of change.faults) {
        for (const name of fault.keys ?? []) keyNamed(world, name);
        if (!fault.reason || dialect.knows(fault.reason)) continue;
        throw new AppError('usage', `a fault's reason "${fault.reason}": ${foreign(dialect.provider)}`);
      }
      world.faults.replace(change.faults);
      return;
    case 'set_latency':
      world.latencyMs = change.latencyMs;
      return;
    default:
      change satisfies never;
  }
}

const standing = { revoked: false, expiresAtMs: null, rotatedAtMs: null, trialEnded: false };

function changeBudget(world: World, purse: Purse, budgetUsd: number | null): void {
  if (setBudget(purse, budgetUsd)) world.account.caps.lifted(purse.kind, purse.name);
}

function keyNamed(world: World, name: string): Key {
  const found = world.keyring.byName(name);
  if (!found) throw unknown('key', name, world.keyring.keys());
  return found;
}

function orgNamed(world: World, name: string): Org {
  const found = world.keyring.org(name);
  if (!found) throw unknown('organisation', name, world.keyring.orgs());
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
