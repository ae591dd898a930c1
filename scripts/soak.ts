/**
 * A soak: `npm run soak [-- --lines 20000 --window 60000]`. A large batch over both providers and four keys, on a bad
 * day of theirs, against simulators in this process: faults of every kind, one key revoked and restored, another's
 * budget spent and raised, each then resumed by the command for it. Prints how long it took, beside the time that the
 * keys' limits alone allow, and ends with 1 when a line is missing or there twice, or when the ledger and the providers
 * disagree.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdtempSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createSimulator } from '../src/simulator/server.ts';
import { limitsTimeMs, type LimitedKey } from './limits-time.ts';
import { soakFaults } from './soak-faults.ts';

const command = path.resolve(import.meta.dirname, '../bin/nightshift.ts');
const { values } = parseArgs({
  options: {
    lines: { type: 'string', default: '20000' },
    window: { type: 'string', default: '60000' },
    calm: { type: 'boolean', default: false },
  },
});
const lineCount = Number(values.lines);
const windowMs = Number(values.window);
const limits = { 'pm-a': 600, 'pm-b': 600, 'cm-a': 300, 'cm-b': 60 };
const perWindow = Object.values(limits).reduce((sum, rpm) => sum + rpm, 0);

const away: Record<string, LimitedKey['away']> = { 'pm-b': [], 'cm-a': [] };

function allowedMs(calls: number): number {
  const keys = Object.entries(limits).map(([name, limit]) => ({ perWindow: limit, away: away[name] ?? [] }));
  return limitsTimeMs(keys, windowMs, calls);
}

const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-soak-'));
const latencyMs = { min: 50, max: 400 };
const scenario = { windowMs, latencyMs, outputTokens: { min: 10, max: 40 }, faults: values.calm ? [] : soakFaults };
const keysOf = (...names: (keyof typeof limits)[]) => names.map((name) => ({ name, rpm: limits[name] }));
await using privatemind = await createSimulator({ scenario: { ...scenario, keys: keysOf('pm-a', 'pm-b') } });
await using curateMe = await createSimulator({
  scenario: { ...scenario, provider: 'curate-me', keys: keysOf('cm-a', 'cm-b') },
});

const env: NodeJS.ProcessEnv = { ...process.env, REDIS_URL: '' };
const keys = Object.entries({ privatemind, 'curate-me': curateMe }).flatMap(([provider, simulator]) =>
  simulator.keys.map(({ name, token, rpm }) => {
    const secretEnv = `SOAK_${name.replace('-', '_').toUpperCase()}`;
    env[secretEnv] = token;
    return { name, provider, secretEnv, rpm };
  }),
);
const providers = {
  privatemind: { baseUrl: privatemind.baseUrl, windowMs },
  'curate-me': { baseUrl: curateMe.baseUrl, windowMs },
};
const config = { providers, keys, aliases: { 'curate-me': { fast: 'gpt-5-mini' } } };
writeFileSync(path.join(dir, 'nightshift.config.json'), JSON.stringify(config));
const line = (index: number) =>
  `${JSON.stringify({ custom_id: `line-${index}`, prompt: `Question ${index}: why?` })}\n`;
writeFileSync(path.join(dir, 'in.jsonl'), Array.from({ length: lineCount }, (_, index) => line(index)).join(''));

console.log(`${lineCount} lines, ${keys.length} keys, ${perWindow} requests per ${windowMs / 1000} s, in ${dir}`);
const startedAtMs = performance.now();
const args = ['run', 'in.jsonl', '--out', 'out', '--model', 'fast', '--json'];
const run = spawn(process.execPath, [command, ...args], { cwd: dir, env, stdio: ['ignore', 'inherit', 'inherit'] });
const ending = once(run, 'close') as Promise<[number | null]>;
if (!values.calm) void loseKeys();
const [code] = await ending;
const tookMs = performance.now() - startedAtMs;

/** A key that is revoked and restored, and one whose budget is spent and raised, in windows since the first call. */
async function loseKeys(): Promise<void> {
  while (privatemind.truth().totals.calls === 0) await sleep(20);
  const firstCallAtMs = performance.now();
  const at = (windows: number) => sleep(Math.max(0, firstCallAtMs + windows * windowMs - performance.now()));
  const leave = async (key: string, from: number, until: number, lose: () => void, giveBack: () => void) => {
    await at(from);
    lose();
    const fromMs = performance.now() - firstCallAtMs;
    await at(until);
    giveBack();
    away[key]?.push({ fromMs, untilMs: performance.now() - firstCallAtMs });
    const resume = spawn(process.execPath, [command, 'keys', 'resume', key], { cwd: dir, env, stdio: 'ignore' });
    await once(resume, 'close');
  };
  await Promise.all([
    leave(
      'pm-b',
      3.4,
      5.2,
      () => privatemind.control({ change: 'revoke_key', key: 'pm-b' }),
      () => privatemind.control({ change: 'restore_key', key: 'pm-b' }),
    ),
    leave(
      'cm-a',
      7.3,
      8.5,
      () => curateMe.control({ change: 'set_key_budget', key: 'cm-a', budgetUsd: 0 }),
      () => curateMe.control({ change: 'set_key_budget', key: 'cm-a', budgetUsd: null }),
    ),
  ]);
}

const found = new Map<string, number>();
for (const file of ['in.output.jsonl', 'in.errors.jsonl']) {
  for await (const text of createInterface({ input: createReadStream(path.join(dir, 'out', file)) })) {
    const { custom_id: id } = JSON.parse(text) as { custom_id: string };
    found.set(id, (found.get(id) ?? 0) + 1);
  }
}
const twice = [...found.values()].filter((times) => times > 1).length;
const missing = lineCount - found.size;

const truths = [privatemind.truth(), curateMe.truth()];
const sum = (of: (truth: (typeof truths)[number]) => number) => truths.reduce((total, truth) => total + of(truth), 0);
const calls = sum(({ totals }) => totals.calls);
const spentNanoUsd = sum(({ totals }) => totals.costNanoUsd);
const ledger = new DatabaseSync(path.join(dir, '.nightshift/ledger.db'), { readOnly: true });
const booked = ledger.prepare('select count(*) as calls, sum(cost_nano_usd) as cost from ledger').get() as {
  calls: number;
  cost: number;
};
ledger.close();

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const ratio = (ms: number) => `${(tookMs / ms).toFixed(3)} ×`;
console.log(`exit code        ${code}`);
console.log(`lines            ${found.size} found, ${missing} missing, ${twice} twice`);
console.log(`calls            ${calls}, of them refused with 429: ${sum(({ totals }) => totals.rejected429)}`);
console.log(`faults           ${JSON.stringify(truths.map(({ faults }) => faults))}`);
console.log(`makespan         ${seconds(tookMs)}`);
console.log(`limits allow     ${seconds(allowedMs(lineCount))} for the lines (took ${ratio(allowedMs(lineCount))})`);
console.log(`                 ${seconds(allowedMs(calls))} for the calls made (took ${ratio(allowedMs(calls))})`);
console.log(`keys away        ${JSON.stringify(away)}`);
console.log(`ledger           ${booked.calls} calls, ${booked.cost} nano USD; providers: ${spentNanoUsd}`);
process.exitCode = code === 0 && missing === 0 && twice === 0 && booked.cost === spentNanoUsd ? 0 : 1;
