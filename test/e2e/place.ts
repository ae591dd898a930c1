/**
 * As support.ts's world, for other providers than PrivateMind and for several at once: each is a simulator of its own
 * with its own keys. A place is a World, so that everything which reads results and ledgers fits it; its truth is that
 * of all its providers together.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { ProviderKind } from '../../src/config.ts';
import type { ControlChange } from '../../src/simulator/changes.ts';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import type { Truth } from '../../src/simulator/truth.ts';
import { makeDirectory, processesIn } from './processes.ts';
import type { KeyPlan, World } from './support.ts';

export type ProviderPlan = {
  /** Default: its name. */
  kind?: ProviderKind;
  keys?: KeyPlan[];
  /** Of both sides. */
  windowMs?: number;
  scenario?: Omit<ScenarioInput, 'keys' | 'windowMs' | 'provider'>;
};

export type PlacePlan = {
  providers: Record<string, ProviderPlan>;
  /** More of the configuration. */
  config?: Record<string, unknown>;
  /** Names of keys that the configuration leaves out at first. */
  without?: string[];
  /** More of the environment. */
  env?: Record<string, string>;
};

export type Place = World & {
  simulators: Record<string, Simulator>;
  control: (provider: string, ...changes: ControlChange[]) => void;
  /** Writes the configuration anew, without some keys. */
  leaveOut: (names: string[]) => void;
  secretOf: (keyName: string) => string;
};

const defaultWindowMs = 3000;

export async function createPlace(plan: PlacePlan): Promise<Place> {
  const simulators: Record<string, Simulator> = {};
  const dir = makeDirectory(async () => {
    for (const simulator of Object.values(simulators)) await simulator.close();
  });
  const env: Record<string, string> = { ...plan.env };
  const providers: Record<string, object> = {};
  const keys: Record<string, unknown>[] = [];
  for (const [name, { kind = name as ProviderKind, windowMs = defaultWindowMs, ...more }] of Object.entries(
    plan.providers,
  )) {
    const planned = more.keys ?? [{ name: `${name}-key` }];
    const simulator = await createSimulator({
      scenario: {
        provider: kind,
        latencyMs: { min: 5, max: 40 },
        outputTokens: { min: 10, max: 40 },
        ...more.scenario,
        windowMs,
        keys: planned.map((key) => ({ name: key.name, rpm: key.rpm ?? null, tpm: key.tpm ?? null, ...key.simulated })),
      },
    });
    simulators[name] = simulator;
    providers[name] = { kind, baseUrl: simulator.baseUrl, windowMs };
    for (const { name: keyName, rpm = null, tpm = null, configured } of planned) {
      const secretEnv = variableOf(keyName);
      env[secretEnv] = simulator.keys.find((key) => key.name === keyName)?.token ?? '';
      keys.push({ name: keyName, provider: name, secretEnv, rpm, tpm, ...configured });
    }
  }

  const file = (name: string) => path.join(dir, name);
  const write = (kept: object[], config: Record<string, unknown>) =>
    writeFileSync(file('nightshift.config.json'), JSON.stringify({ providers, keys: kept, ...config }));
  const leaveOut = (names: string[]) =>
    write(
      keys.filter(({ name }) => !names.includes(String(name))),
      plan.config ?? {},
    );
  leaveOut(plan.without ?? []);

  const truth = () => together(Object.values(simulators).map((simulator) => simulator.truth()));
  return {
    ...processesIn(dir, env, () => truth().totals.calls),
    dir,
    file,
    simulators,
    simulator: Object.values(simulators)[0] as Simulator,
    tokens: Object.values(simulators).flatMap((simulator) => simulator.keys.map(({ token }) => token)),
    secretOf: (keyName) => env[variableOf(keyName)] ?? '',
    truth,
    configure: (config) => write(keys, config),
    leaveOut,
    control: (provider, ...changes) => simulators[provider]?.control(changes),
  };
}

function variableOf(keyName: string): string {
  return `KEY_${keyName.replaceAll(/[^a-z0-9]/gi, '_').toUpperCase()}`;
}

/** Keys and totals of all; the rest is that of the first. */
function together(truths: Truth[]): Truth {
  const [first, ...others] = structuredClone(truths);
  if (!first) throw new Error('a place has at least one provider');
  for (const { keys, totals } of others) {
    Object.assign(first.keys, keys);
    for (const [field, value] of Object.entries(totals)) {
      if (typeof value === 'number') first.totals[field as 'calls'] += value;
    }
    for (const [status, times] of Object.entries(totals.statuses)) {
      first.totals.statuses[status] = (first.totals.statuses[status] ?? 0) + times;
    }
  }
  return first;
}

/** `nightshift keys --json`, by name. */
export async function readKeys(place: Place): Promise<Record<string, KeyStanding>> {
  const { stdout, stderr } = await place.nightshift(['keys', '--json']);
  if (stdout === '') throw new Error(stderr);
  const rows = JSON.parse(stdout) as KeyStanding[];
  return Object.fromEntries(rows.map((row) => [row.name, row]));
}

export type KeyStanding = {
  name: string;
  standing: string;
  reason: string | null;
  until: string | null;
  learnt: { rpm: number | null; top: number; sure: boolean; told: boolean } | null;
};

export type Attempt = {
  custom_id: string;
  key_name: string;
  resolved_model: string;
  outcome: string;
  http_status: number | null;
  started_at: string;
  error_code: string | null;
  input_tokens: number | null;
  output_tokens: number | null;
  cost_nano_usd: number | null;
  cost_source: string;
  request_id: string | null;
  first_token_ms: number | null;
};

/** The ledger, row by row. */
export function readAttempts(place: Place): Attempt[] {
  const database = new DatabaseSync(place.file('.nightshift/ledger.db'), { readOnly: true });
  try {
    return database.prepare('select * from ledger order by started_at').all() as Attempt[];
  } finally {
    database.close();
  }
}

/** `{"a": 2, "b": 1}` of `["a", "a", "b"]`. */
export function tally(values: Iterable<string | number | null>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[String(value)] = (counts[String(value)] ?? 0) + 1;
  return counts;
}

export type LineOptions = { id: string; content?: string; model?: string; body?: Record<string, unknown> };

/** An input file of these requests. Returns their ids. */
export function writeLines(place: Place, lines: LineOptions[], name = 'in.jsonl'): string[] {
  const text = lines.map(({ id, content = `Question ${id}: why is the night quiet?`, model = 'fast', body }) => {
    const messages = [{ role: 'user', content }];
    const request = { model, messages, max_tokens: 40, ...body };
    return `${JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body: request })}\n`;
  });
  writeFileSync(place.file(name), text.join(''));
  return lines.map(({ id }) => id);
}

/** `line-0`, `line-1`, … */
export function plainLines(count: number, model = 'fast'): LineOptions[] {
  return Array.from({ length: count }, (_, index) => ({ id: `line-${index}`, model }));
}
