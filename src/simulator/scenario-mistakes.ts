/**
 * What a scenario says that its form allows and its contents do not: names used twice, names of nothing, and what its
 * provider does not do. Each mistake is one line and names its field.
 */
import { needOf } from './changes.ts';
import type { RefusalReason } from './refusal.ts';
import type { Scenario } from './scenario.ts';

export function findMistakes(scenario: Scenario): string[] {
  return [...findRepeats(scenario), ...findStrangers(scenario), ...findForeignWays(scenario)];
}

/** Names that must be unique and are not. */
function findRepeats({ keys, models }: Scenario): string[] {
  const mistakes: string[] = [];
  const seen = new Set<string>();
  const once = (kind: string, value: string, place: string, shown = `"${value}"`): void => {
    if (seen.has(`${kind} ${value}`)) mistakes.push(`${place}: ${shown} is used twice`);
    seen.add(`${kind} ${value}`);
  };
  for (const [index, key] of keys.entries()) {
    once('key', key.name, `keys[${index}].name`);
    once('token', key.token, `keys[${index}].token`, 'the token');
  }
  for (const [index, model] of models.entries()) {
    once('model', model.id, `models[${index}].id`);
    for (const alias of model.aliases) once('alias', alias, `models[${index}].aliases`);
  }
  return mistakes;
}

/** Names of keys, teams, organisations and models that the scenario does not have. */
function findStrangers({ keys, teams, orgs, models, faults, events }: Scenario): string[] {
  const changes = events.map((event) => event.do);
  const known = {
    key: new Set(keys.map((key) => key.name)),
    team: new Set([...keys.flatMap((key) => key.team ?? []), ...Object.keys(teams)]),
    org: new Set([...keys.map((key) => key.org), ...Object.keys(orgs)]),
    // A model may be added in mid-run.
    model: new Set(
      [...models, ...changes.flatMap((to) => (to.change === 'add_model' ? [to.model] : []))].map(({ id }) => id),
    ),
  };
  const mistakes: string[] = [];
  const check = (kind: keyof typeof known, names: readonly string[], place: string): void => {
    for (const name of names) {
      if (known[kind].has(name)) continue;
      mistakes.push(`${place}: unknown ${kind} "${name}" (known: ${[...known[kind]].join(', ')})`);
    }
  };
  for (const [index, key] of keys.entries()) check('model', key.allowedModels ?? [], `keys[${index}].allowedModels`);
  for (const [index, fault] of faults.entries()) {
    check('key', fault.keys ?? [], `faults[${index}].keys`);
    check('model', fault.models ?? [], `faults[${index}].models`);
  }
  for (const [index, change] of changes.entries()) {
    const place = `events[${index}].do`;
    if ('key' in change) check('key', [change.key], `${place}.key`);
    if ('team' in change) check('team', [change.team], `${place}.team`);
    if ('org' in change) check('org', [change.org], `${place}.org`);
    if ('to' in change) check('model', [change.to], `${place}.to`);
    if (change.change === 'remove_model') check('model', [change.model], `${place}.model`);
  }
  return mistakes;
}

/** Which refusal a setting leads to: a provider that never refuses so has no such setting. */
const keyNeeds = {
  maxConcurrent: 'concurrency',
  sessionBudgetUsd: 'session_budget',
  inFlightBudgetUsd: 'in_flight_budget',
  maxRequestCostUsd: 'request_cost',
  allowedIps: 'ip_not_allowed',
  team: 'team_budget',
} as const satisfies Record<string, RefusalReason>;
const orgNeeds = { dailyCalls: 'plan_quota', suspended: 'org_suspended' } as const satisfies Record<
  string,
  RefusalReason
>;

function findForeignWays({ dialect, keys, teams, orgs, models, faults, events }: Scenario): string[] {
  const mistakes: string[] = [];
  const check = (isGiven: boolean, reason: RefusalReason, place: string): void => {
    if (isGiven && !dialect.knows(reason)) mistakes.push(`${place}: ${foreign(dialect.provider)}`);
  };
  for (const [index, key] of keys.entries()) {
    for (const [field, reason] of entriesOf(keyNeeds)) {
      check((key[field] ?? null) !== null, reason, `keys[${index}].${field}`);
    }
  }
  for (const name of Object.keys(teams)) check(true, 'team_budget', `teams.${name}`);
  for (const [name, org] of Object.entries(orgs)) {
    for (const [field, reason] of entriesOf(orgNeeds)) check(Boolean(org[field]), reason, `orgs.${name}.${field}`);
  }
  for (const [index, { reason }] of faults.entries()) {
    if (reason) check(true, reason, `faults[${index}].reason`);
  }
  for (const [index, { do: change }] of events.entries()) {
    const need = needOf(change);
    if (need) check(true, need, `events[${index}].do.change`);
  }
  for (const [index, { aliases }] of models.entries()) {
    if (aliases.length > 0 && !dialect.hasAliases) {
      mistakes.push(`models[${index}].aliases: ${foreign(dialect.provider)}`);
    }
  }
  return mistakes;
}

export function foreign(provider: string): string {
  return `the provider "${provider}" has no such thing`;
}

function entriesOf<Field extends string, Value>(record: Record<Field, Value>): [Field, Value][] {
  return Object.entries(record) as [Field, Value][];
}
