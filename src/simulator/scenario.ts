/**
 * A scenario: what the simulator offers, how it behaves and what happens in mid-run. Everything is optional. Validated
 * whole, unknown fields refused, each mistake named by its field.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { AppError, messageOf } from '../errors.ts';
import { modelSchema, type Model } from './catalogue.ts';
import { outputTokensSchema } from './completion.ts';
import { changeSchema } from './changes.ts';
import { createCurateMe, curateMeFields } from './curate-me.ts';
import { defaultModels } from './default-models.ts';
import { providers, type Dialect, type Provider } from './dialect.ts';
import { faultSchema } from './faults.ts';
import { describeIssues } from './issues.ts';
import { keySchema, orgSchema, teamSchema, type KeySettings } from './key-settings.ts';
import { latencySchema } from './latency.ts';
import { createOpenai } from './openai.ts';
import { openaiFields } from './openai-words.ts';
import { createPrivatemind } from './privatemind.ts';
import { findMistakes } from './scenario-mistakes.ts';

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

/** The fields that only PrivateMind has. */
const privatemindFields = {
  /** The organisation's 402, whose words are not documented. */
  orgCap: z
    .strictObject({
      code: z.string().default('org_budget_exceeded'),
      message: z.string().default('Organization budget exhausted'),
    })
    .prefault({}),
};

/** Which fields belong to one provider alone. */
const fieldsOf = { privatemind: privatemindFields, 'curate-me': curateMeFields, openai: openaiFields };

export const scenarioSchema = z.strictObject({
  $schema: z.string().optional(),
  /** One simulator is one provider. */
  provider: z.enum(providers).default('privatemind'),
  seed: z.number().int().default(1),
  windowMs: z.number().int().positive().default(60_000),
  /** 0: instant. */
  latencyMs: latencySchema.default(0),
  outputTokens: outputTokensSchema.default({ min: 20, max: 120 }),
  keys: z.array(keySchema).min(1).optional(),
  teams: z.record(z.string(), teamSchema).default({}),
  orgs: z.record(z.string(), orgSchema).default({}),
  models: z.array(modelSchema).optional(),
  faults: z.array(faultSchema).default([]),
  events: z.array(eventSchema).default([]),
  /** Whether a token limit counts what was answered, or `max_tokens`, where a request gives it. */
  tpmCounts: z.enum(['used', 'requested']).default('used'),
  /** A proxy in between holds streams back and delivers them whole, at the end. Faults are not held back. */
  buffered: z.boolean().default(false),
  /** Larger ones are refused. The default is far above any prompt the default catalogue could take. */
  maxBodyBytes: z
    .number()
    .int()
    .positive()
    .default(16 * 1024 * 1024),
  /** Whether answers tell what they cost, where the provider does. */
  reportCost: z.boolean().default(true),
  /** Whether a key's listing shows models it may not use. */
  listForbiddenModels: z.boolean().default(false),
  /** Count billed calls per prompt in `Truth.byRequest`: memory then grows with the prompts. */
  trackRequests: z.boolean().default(false),
  /** Calls that `GET /v1/usage` remembers, per key. */
  usageLogSize: z.number().int().positive().default(10_000),
  ...privatemindFields,
  ...curateMeFields,
  ...openaiFields,
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
  const dialect = createDialect(data);
  const given = data.keys ?? defaultRpms.map((rpm, index) => keySchema.parse({ name: `sim-${index + 1}`, rpm }));
  const scenario: Scenario = {
    ...data,
    dialect,
    keys: given.map((key) => ({ ...key, token: key.token ?? dialect.createToken(data.seed, key.name) })),
    models: data.models ?? defaultModels(dialect.hasAliases),
  };
  const mistakes = [...findForeignFields(input, data.provider), ...findMistakes(scenario)];
  if (mistakes.length > 0) refuse(source, mistakes);
  return scenario;
}

function createDialect(data: z.output<typeof scenarioSchema>): Dialect {
  switch (data.provider) {
    case 'privatemind':
      return createPrivatemind(data.orgCap);
    case 'curate-me':
      return createCurateMe(data);
    case 'openai':
      return createOpenai(data);
    default:
      return data.provider satisfies never;
  }
}

function findForeignFields(input: unknown, provider: Provider): string[] {
  const given = Object.keys(input as object);
  return providers
    .filter((other) => other !== provider)
    .flatMap((other) =>
      given
        .filter((field) => Object.hasOwn(fieldsOf[other], field))
        .map((field) => `${field}: expected with the provider "${other}", and this one is "${provider}"`),
    );
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
