/**
 * A place for one end-to-end test: a directory, a simulated provider with its keys, a configuration, an input file, and
 * the command as a process. What became of the lines is read from the files, the manifest and the ledger, and held
 * against what the simulator saw. All of it is gone when the test is over.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { vi } from 'vitest';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import type { Truth } from '../../src/simulator/truth.ts';
import { makeDirectory, processesIn, type Ended, type Processes } from './processes.ts';

export { endOf, type Ended } from './processes.ts';
export { makeInput, writeInput } from './prompts.ts';

// A dozen processes one after the other: on a busy machine that is slow, which is no failure.
vi.setConfig({ testTimeout: 90_000 });

type SimulatedKey = NonNullable<ScenarioInput['keys']>[number];

export type KeyPlan = {
  name: string;
  /** Of both sides; null: no limit. */
  rpm?: number | null;
  tpm?: number | null;
  /** More of the key, at the provider and in our configuration. */
  simulated?: Partial<SimulatedKey>;
  configured?: Record<string, unknown>;
};

export type WorldPlan = {
  keys?: KeyPlan[];
  /** Of both sides. */
  windowMs?: number;
  scenario?: Omit<ScenarioInput, 'keys' | 'windowMs'>;
  /** More of the configuration. */
  config?: Record<string, unknown>;
  redisUrl?: string;
};

/** `run --json`. */
export type Summary = {
  batchId: string;
  name: string;
  status: string;
  counts: { total: number; completed: number; failed: number };
  costUsd: number;
  possiblyBilled: number;
  stoppedBy: { code: string; cause: string } | null;
};

export type ResultLine = {
  custom_id: string | null;
  response: { status_code: number; body: unknown } | null;
  error: { code: string; message: string; line: number } | null;
};

export type Manifest = {
  batchId: string;
  status: string;
  stoppedBy: { code: string; cause: string } | null;
  counts: Summary['counts'];
  errorCodes: Record<string, number>;
  attempts: { total: number; byOutcome: Record<string, number>; byErrorCode: Record<string, number> };
  models: { requested: string; resolved: string; completed: number }[];
  keys: { name: string; attempts: number; byOutcome: Record<string, number> }[];
  possiblyBilled: number;
};

export type World = Processes & {
  dir: string;
  file: (name: string) => string;
  simulator: Simulator;
  tokens: string[];
  truth: () => Truth;
  /** Writes the configuration anew. */
  configure: (config: Record<string, unknown>, keys?: Record<string, Record<string, unknown>>) => void;
};

export async function createWorld(plan: WorldPlan = {}): Promise<World> {
  const dir = makeDirectory(() => simulator.close());
  const windowMs = plan.windowMs ?? 3000;
  const keys = plan.keys ?? [{ name: 'a' }, { name: 'b' }];
  const tokens = keys.map(({ name }) => tokenOf(`${dir} ${name}`));
  const simulator = await createSimulator({
    scenario: {
      latencyMs: { min: 5, max: 60 },
      outputTokens: { min: 10, max: 40 },
      ...plan.scenario,
      windowMs,
      keys: keys.map(({ name, rpm = null, tpm = null, simulated }, index) => {
        return { name, rpm, tpm, ...simulated, token: tokens[index] };
      }),
    },
  });

  const file = (name: string) => path.join(dir, name);
  const configure: World['configure'] = (config, more = {}) => {
    const configured = keys.map(({ name, rpm = null, tpm = null, configured: own }, index) => {
      return { name, provider: 'privatemind', secretEnv: `KEY_${index}`, rpm, tpm, ...own, ...more[name] };
    });
    const providers = { privatemind: { baseUrl: simulator.baseUrl, windowMs } };
    writeFileSync(file('nightshift.config.json'), JSON.stringify({ providers, keys: configured, ...config }));
  };
  configure(plan.config ?? {});

  const secrets = Object.fromEntries(tokens.map((token, index) => [`KEY_${index}`, token]));
  const env = { ...secrets, ...(plan.redisUrl !== undefined && { REDIS_URL: plan.redisUrl }) };
  const truth = () => simulator.truth();
  return {
    ...processesIn(dir, env, () => truth().totals.calls),
    dir,
    file,
    simulator,
    tokens,
    truth,
    configure,
  };
}

/** The exit code, and with a wrong one what the process said. */
export function expectExit(ended: Ended, code: number): void {
  if (ended.code === code) return;
  throw new Error(`expected exit code ${code}, got ${ended.code}; the process said:\n${ended.stdout}${ended.stderr}`);
}

export function summaryOf(ended: Ended): Summary {
  return JSON.parse(ended.stdout) as Summary;
}

/** In the form of a key, and every time the same. */
function tokenOf(seed: string): string {
  const hex = createHash('sha512').update(seed).digest('hex');
  return `PMIND${hex.slice(0, 27).toUpperCase()}:${hex.slice(64)}`;
}

/** Each line once in one of the files, whole, and the files hold nothing else. */
export function readResults(world: World, ids: readonly string[], name = 'in', outDir = 'out') {
  const output = readResultFile(world.file(path.join(outDir, `${name}.output.jsonl`)));
  const errors = readResultFile(world.file(path.join(outDir, `${name}.errors.jsonl`)));
  const found = [...output, ...errors].map(({ custom_id: id }) => String(id)).toSorted();
  const expected = ids.toSorted();
  const at = expected.findIndex((id, index) => id !== found[index]);
  if (at !== -1 || found.length !== expected.length) {
    const place = `the first that differs: expected ${expected[at]}, found ${found[at]}`;
    throw new Error(`expected ${expected.length} lines, each once, found ${found.length}; ${place}`);
  }
  return { output, errors };
}

function readResultFile(file: string): ResultLine[] {
  const lines = readFileSync(file, 'utf8').split('\n');
  if (lines.pop() !== '') throw new Error(`${file} ends in a torn line`);
  return lines.map((line) => JSON.parse(line) as ResultLine);
}

export function readManifest(world: World, name = 'in', outDir = 'out'): Manifest {
  return JSON.parse(readFileSync(world.file(path.join(outDir, `${name}.manifest.json`)), 'utf8')) as Manifest;
}

type LedgerRow = { key: string; outcome: string; calls: number; input: number; output: number; costNanoUsd: number };

export function readLedger(world: World, data = '.nightshift'): LedgerRow[] {
  const database = new DatabaseSync(world.file(path.join(data, 'ledger.db')), { readOnly: true });
  try {
    const rows = database
      .prepare(
        `select key_name as key, outcome, count(*) as calls, coalesce(sum(input_tokens), 0) as input,
           coalesce(sum(output_tokens), 0) as output, coalesce(sum(cost_nano_usd), 0) as costNanoUsd
         from ledger group by 1, 2 order by 1, 2`,
      )
      .all();
    return rows as LedgerRow[];
  } finally {
    database.close();
  }
}

export function countByOutcome(rows: LedgerRow[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { outcome, calls } of rows) counts[outcome] = (counts[outcome] ?? 0) + calls;
  return counts;
}

/** For `expect(…).toEqual(…)`: key by key, calls, tokens and money as the ledger has them and as the provider has. */
export function ledgerAndTruth(world: World) {
  type Sums = { calls: number; input: number; output: number; costNanoUsd: number };
  const ledger: Record<string, Sums> = {};
  for (const { key, calls, input, output, costNanoUsd } of readLedger(world)) {
    const sums = (ledger[key] ??= { calls: 0, input: 0, output: 0, costNanoUsd: 0 });
    sums.calls += calls;
    sums.input += input;
    sums.output += output;
    sums.costNanoUsd += costNanoUsd;
  }
  const provider: Record<string, Sums> = {};
  for (const [name, key] of Object.entries(world.truth().keys)) {
    // A revoked key's calls are none to the provider, but they are attempts.
    const calls = key.calls + (key.statuses['401'] ?? 0);
    const { inputTokens: input, outputTokens: output, costNanoUsd } = key;
    if (calls > 0) provider[name] = { calls, input, output, costNanoUsd };
  }
  return { ledger, provider };
}

export function exists(world: World, name: string): boolean {
  return existsSync(world.file(name));
}
