/**
 * The fault benchmark: `npm run bench:faults [-- --rounds 20 --seed 1]`. In every round a batch runs in real processes
 * (producer and collector, three workers, Redis, simulated providers with strict windows of two seconds) under blows
 * drawn from the round's seed; then files, ledger and what the providers saw are held against each other, call by call.
 *
 * Exit code 1 as soon as a round is not clean: its directory is kept and named. `--round-seed S` replays the blows of
 * one round. Results: bench/results/faults.json.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { createRandom } from '../src/simulator/seeded.ts';
import { blowKinds, drawRound, type BlowKind } from './faults/blows.ts';
import { addUp, describeRound, table } from './faults/report.ts';
import { isClean, runRound, type RoundResult } from './faults/round.ts';

const usage = `Usage: npm run bench:faults -- [options]
  --rounds N        default 20
  --seed S          of the whole bench (default: a new one)
  --round-seed S    that one round alone
  --only KINDS      draw these blows only, separated by commas
  --parallel N      rounds at a time (default 2: a round mostly waits)
  --out FILE        default bench/results/faults.json
  --keep            keep the directories of clean rounds, too
  --go-on           do not stop at the first round that is not clean
  --json            the results as JSON on stdout, instead of the table
Blows: ${blowKinds.join(', ')}`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    'round-seed': { type: 'string' },
    only: { type: 'string', default: blowKinds.join(',') },
    parallel: { type: 'string', default: '2' },
    out: { type: 'string', default: path.join(import.meta.dirname, 'results', 'faults.json') },
    keep: { type: 'boolean', default: false },
    'go-on': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const only = values.only.split(',') as BlowKind[];
const strangers = only.filter((kind) => !blowKinds.includes(kind));
const counts = [values.rounds, values.seed, values.parallel, values['round-seed'] ?? '1'].map(Number);
if (strangers.length > 0 || !counts.every((count) => Number.isSafeInteger(count) && count >= 0)) {
  console.error(`expected whole numbers and known blows, got ${JSON.stringify({ ...values })}\n${usage}`);
  process.exit(2);
}
const seed = Number(values.seed);
const random = createRandom(seed);
const seeds =
  values['round-seed'] === undefined
    ? Array.from({ length: Number(values.rounds) }, () => Math.floor(random() * 1e9))
    : [Number(values['round-seed'])];

let isStopped = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (isStopped) process.exit(130);
    isStopped = true;
    console.error('Stopping after the rounds under way (once more to stop now).');
  });
}
givePrecedence();
process.exitCode = await bench();

async function bench(): Promise<number> {
  console.error(`seed ${seed}: ${seeds.length} rounds`);
  const done: RoundResult[] = [];
  let next = 0;
  const lane = async () => {
    while (next < seeds.length && !isStopped) {
      const result = await runRound(drawRound(seeds[next++] as number, only), { keep: values.keep });
      done.push(result);
      show(describeRound(result, done.length, seeds.length), isClean(result));
      if (!isClean(result) && !values['go-on']) isStopped = true;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Number(values.parallel)) }, lane));
  if (process.stderr.isTTY) process.stderr.write('\n');
  const results = addUp(done, seed);
  mkdirSync(path.dirname(path.resolve(values.out)), { recursive: true });
  writeFileSync(values.out, `${JSON.stringify(results, null, 2)}\n`);
  console.log(values.json ? JSON.stringify(results) : table(results));
  for (const { seed: of, problems, dir } of results.failedRounds) {
    console.error(`Not clean: round seed ${of}, its files are in ${dir}. ${problems.join('; ')}`);
    const drawn = only.length < blowKinds.length ? ` --only ${values.only}` : '';
    console.error(`To strike the same blows again: npm run bench:faults -- --round-seed ${of}${drawn}`);
  }
  return results.failedRounds.length > 0 ? 1 : 0;
}

/** A terminal shows the last clean round only; a log has them all. */
function show(line: string, clean: boolean): void {
  if (!process.stderr.isTTY) console.error(line);
  else process.stderr.write(`\r\x1b[K${line.slice(0, process.stderr.columns - 1)}${clean ? '' : '\n'}`);
}

/**
 * The providers would be other machines: their windows must not wait for a processor that the workers keep busy. By
 * real-time priority where that is permitted; what the bench starts does not inherit it.
 */
function givePrecedence(): void {
  try {
    execFileSync('chrt', ['--all-tasks', '--reset-on-fork', '--fifo', '--pid', '1', String(process.pid)], {
      stdio: 'ignore',
    });
  } catch {
    // Then a busy machine looks like a slow network.
  }
}
