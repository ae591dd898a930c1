/**
 * `npm run demo`: 120 prompts through four keys of a simulated provider, with trouble on the way. Provider and
 * nightshift are processes of their own, started as a person would start them; what is said at the end is read from the
 * batch's manifest and from the provider's own count (demo-report.ts). Needs no key, costs nothing, and leaves files
 * but no process behind. Exit code: that of `nightshift run`.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Truth } from '../src/simulator/truth.ts';
import { report, type Manifest } from './demo-report.ts';
import { startLeashed, type Leashed } from './leash.ts';

const input = 'examples/prompts.jsonl';
const scenarioFile = 'examples/demo/scenario.json';
const configFile = 'examples/demo/nightshift.config.json';

type Scenario = { windowMs: number; keys: { name: string; rpm: number }[] };
type ConfigFile = { keys: { name: string; secretEnv: string }[] };

process.chdir(path.dirname(import.meta.dirname));
const say = (text = '') => process.stdout.write(`${text}\n`);
const readJson = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));

/** What a Ctrl-C is meant for just now; the simulator is ended by us alone, and last. */
let current: Leashed | null = null;
let stoppedAt: number | null = null;
/** npm hands the terminal's signal on to a process that has had it already. */
const sameSignalMs = 500;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stoppedAt !== null && performance.now() - stoppedAt < sameSignalMs) return;
    stoppedAt = performance.now();
    current?.terminate();
  });
}
process.exitCode = await demonstrate();

async function demonstrate(): Promise<number> {
  const scenario = readJson(scenarioFile) as Scenario;
  const config = readJson(configFile) as ConfigFile;
  const stamp = new Date().toISOString().replaceAll(/\D/g, '').slice(0, 14);
  const out = path.join('demo-output', stamp);
  mkdirSync(out, { recursive: true });
  // A namespace of its own: with REDIS_URL set, the Redis is shared with real batches.
  const ownConfig = path.join(out, 'nightshift.config.json');
  writeFileSync(ownConfig, `${JSON.stringify({ ...config, namespace: `demo-${stamp}` }, null, 2)}\n`);

  introduce(scenario);
  const simulator = startLeashed(
    ['bin/nightshift.ts', 'simulate', '--port', '0', '--scenario', scenarioFile, '--json'],
    { env: process.env, readStdout: true },
  );
  try {
    const env = { ...process.env, ...environmentOf(await simulator.untilLines(3), scenario, config) };
    const common = ['--config', ownConfig, '--data', path.join(out, 'data')];
    // On a terminal the progress block shows what the log would say.
    const level = process.stderr.isTTY ? 'error' : 'warn';
    const exitCode = await nightshift(env, [
      'run',
      input,
      '--out',
      out,
      '--concurrency',
      '24',
      ...common,
      '--log-level',
      level,
    ]);
    if (stoppedAt === null) await nightshift(env, ['keys', ...common]);
    if (stoppedAt === null) await nightshift(env, ['usage', '--by', 'key', ...common]);
    simulator.terminate();
    await simulator.ended;
    const manifestFile = path.join(out, 'prompts.manifest.json');
    if (exitCode <= 1) {
      const truth = JSON.parse(simulator.lines.at(-1) ?? '') as Truth;
      say(`\n${report(readJson(manifestFile) as Manifest, truth, scenario)}`);
    }
    say(`\nresults   ${path.join(out, 'prompts.output.jsonl')}`);
    say(`manifest  ${manifestFile}`);
    say(`ledger    ${path.join(out, 'data', 'ledger.db')} (SQLite, table "ledger": one row per call)`);
    if (exitCode > 1) say(`\nThe batch did not complete: nightshift run ended with exit code ${exitCode}.`);
    return exitCode;
  } finally {
    simulator.terminate();
    await simulator.ended;
  }
}

function introduce({ keys, windowMs }: Scenario): void {
  const limits = keys.map(({ name, rpm }) => `${name} ${rpm}`).join(', ');
  say('A night shift in half a minute: 120 prompts, four API keys, one simulated provider that never says it is real.');
  say(
    `The limit window is ${windowMs / 1000} s instead of a minute, on both sides, so that you see the limits at work.`,
  );
  say(`Requests per window: ${limits}.`);
  say('On the way one key is revoked, one runs out of money, an alias moves to another model, and some calls fail.');
}

/** One command of nightshift, as one would type it. */
async function nightshift(env: NodeJS.ProcessEnv, args: string[]): Promise<number> {
  if (stoppedAt !== null) return 130;
  say(`\n$ nightshift ${args.join(' ')}`);
  current = startLeashed(['bin/nightshift.ts', ...args], { env });
  const code = await current.ended;
  current = null;
  return code;
}

/** The simulator prints `export NAME='value'` lines; its keys come in the scenario's order. */
function environmentOf(lines: string[], scenario: Scenario, config: ConfigFile): Record<string, string> {
  const exported = new Map(
    lines.map((line) => (/^export (\w+)='(.*)'$/.exec(line)?.slice(1) as [string, string]) ?? ['', '']),
  );
  const tokens = (exported.get('PMIND_KEYS') ?? '').split(',');
  const tokenOf = new Map(scenario.keys.map(({ name }, index) => [name, tokens[index] ?? '']));
  return {
    PMIND_BASE_URL: exported.get('PMIND_BASE_URL') ?? '',
    ...Object.fromEntries(config.keys.map(({ name, secretEnv }) => [secretEnv, tokenOf.get(name) ?? ''])),
  };
}
