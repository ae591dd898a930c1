/**
 * A scenario: what the simulator offers, how it behaves and what happens in mid-run. Everything is optional. Validated
 * whole, unknown fields refused, each mistake named by its field.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError, messageOf } from '../errors.ts';
import { modelSchema, type Model } from './catalogue.ts';
import { outputTokensSchema } from './completion.ts';
import { changeSchema } from './control.ts';
import { defaultModels } from './default-models.ts';
import type { Dialect } from './dialect.ts';
import { faultSchema } from './faults.ts';
import { describeIssues } from './issues.ts';
import { keySchema, orgSchema, type KeySettings } from './keyring.ts';
import { latencySchema } from './latency.ts';
import { createPrivatemind } from './privatemind.ts';

/** After so many completion calls, or so long after the start; seen by the first request that comes then. */
const eventSchema = z
  .strictObject({
    afterCalls: z.number().int().nonnegative().optional(),
    atMs: z.number().nonnegative().optional(),
    do: changeSchema,
  })
  .refine((event) => (event.afterCalls === undefined) !== (event.atMs === undefined), {
    path: ['afterCalls'],
    message: 'expected either "afterCalls" or "atMs"',
  });
export type ScenarioEvent = z.output<typeof eventSchema>;

export const scenarioSchema = z.strictObject({
  $schema: z.string().optional(),
  seed: z.number().int().default(1),
  windowMs: z.number().int().positive().default(60_000),
  /** 0: instant. */
  latencyMs: latencySchema.default(0),
  outputTokens: outputTokensSchema.default({ min: 20, max: 120 }),
  keys: z.array(keySchema).min(1).optional(),
  orgs: z.record(z.string(), orgSchema).default({}),
  models: z.array(modelSchema).optional(),
  faults: z.array(faultSchema).default([]),
  events: z.array(eventSchema).default([]),
  /** The organisation's 402, whose words are not documented. */
  orgCap: z
    .strictObject({
      code: z.string().default('org_budget_exceeded'),
      message: z.string().default('Organization budget exhausted'),
    })
    .prefault({}),
  /** Whether `usage` carries `cost_usd`. */
  reportCost: z.boolean().default(true),
  /** Whether a key's listing shows models it may not use. */
  listForbiddenModels: z.boolean().default(false),
  /** Count billed calls per prompt in `Truth.byRequest`: memory then grows with the prompts. */
  trackRequests: z.boolean().default(false),
  /** Calls that `GET /v1/usage` remembers, per key. */
  usageLogSize: z.number().int().positive().default(10_000),
});
export type ScenarioInput = z.input<typeof scenarioSchema>;

export type Scenario = Omit<z.output<typeof scenarioSchema>, 'keys' | 'models'> & {
  keys: KeySettings[];
  models: Model[];
  dialect: Dialect;
};

/** Requests per minute of the keys that a scenario without keys gets. */
const defaultRpms = [600, 600, 300, 60];

/** `source` is what a message calls the scenario, such as its file. Errors: `config`, one line per mistake. */
export function parseScenario(input: unknown = {}, source = 'the scenario'): Scenario {
  const parsed = scenarioSchema.safeParse(input);
  if (!parsed.success) {
    refuse(source, describeIssues(parsed.error, Object.keys(scenarioSchema.shape)));
  }
  const { data } = parsed;
  const dialect = createPrivatemind(data.orgCap);
  const given = data.keys ?? defaultRpms.map((rpm, index) => keySchema.parse({ name: `sim-${index + 1}`, rpm }));
  const scenario: Scenario = {
    ...data,
    dialect,
    keys: given.map((key) => ({ ...key, token: key.token ?? dialect.createToken(data.seed, key.name) })),
    models: data.models ?? defaultModels(),
  };
  const mistakes = [...findRepeats(scenario), ...findStrangers(scenario)];
  if (mistakes.length > 0) refuse(source, mistakes);
  return scenario;
}

/** Reads a scenario's JSON, unchecked; `parseScenario` does the rest. */
export function readScenarioFile(file: string): ScenarioInput {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new AppError('config', `cannot read the scenario ${file}: ${messageOf(cause)}`, { cause });
  }
  try {
    return JSON.parse(text) as ScenarioInput;
  } catch (cause) {
    throw new AppError('config', `the scenario ${file} is not valid JSON: ${messageOf(cause)}`, { cause });
  }
}

function refuse(source: string, mistakes: string[]): never {
  throw new AppError('config', `${source} is not a valid scenario:\n${mistakes.map((line) => `  ${line}`).join('\n')}`);
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

/** Names of keys, organisations and models that the scenario does not have. */
function findStrangers({ keys, orgs, models, faults, events }: Scenario): string[] {
  const changes = events.map((event) => event.do);
  const known = {
    key: new Set(keys.map((key) => key.name)),
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
    if ('org' in change) check('org', [change.org], `${place}.org`);
    if ('to' in change) check('model', [change.to], `${place}.to`);
    if (change.change === 'remove_model') check('model', [change.model], `${place}.model`);
  }
  return mistakes;
}
