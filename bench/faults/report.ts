/** Adds rounds up: the results file, and the table for people. */
import { execFileSync } from 'node:child_process';
import os from 'node:os';
import type { BlowKind } from './blows.ts';
import { isClean, type RoundResult } from './round.ts';

export type Results = ReturnType<typeof addUp>;

const summed = [
  'lost',
  'doubled',
  'torn',
  'mixedUp',
  'overLimit',
  'overLimitUnjudged',
  'callsAfterOrgCap',
  'ledgerMissing',
  'ledgerDoubled',
  'moneyDiffNanoUsd',
  'possiblyBilled',
  'unanswered',
  'calls',
  'billedUnanswered',
  'linesInErrorFile',
  'linesPaidTwice',
] as const;

export function addUp(rounds: readonly RoundResult[], seed: number) {
  const sums = Object.fromEntries(
    summed.map((field) => [field, rounds.reduce((sum, round) => sum + round[field], 0)]),
  ) as Record<(typeof summed)[number], number>;
  const struck = rounds.flatMap((round) => round.struck);
  const byKind: Partial<Record<BlowKind, { blows: number; recoverMs: Spread }>> = {};
  for (const kind of [...new Set(struck.map((blow) => blow.kind))].toSorted()) {
    const own = struck.filter((blow) => blow.kind === kind);
    byKind[kind] = { blows: own.length, recoverMs: spreadOf(own.map(({ recoverMs }) => recoverMs)) };
  }
  return {
    rounds: rounds.length,
    blows: struck.length,
    lines: rounds.reduce((sum, { lineCount }) => sum + lineCount, 0),
    ...sums,
    /** Rounds in which the bench stood still for longer than the guard leaves to the network: windows are not judged. */
    unjudgedRounds: rounds.filter(({ isUnjudged }) => isUnjudged).length,
    recoverMs: spreadOf(struck.map(({ recoverMs }) => recoverMs)),
    standstillMs: spreadOf(rounds.map(({ standstillMs }) => standstillMs)),
    benchStallMs: spreadOf(rounds.map(({ benchStallMs }) => benchStallMs)),
    roundMs: spreadOf(rounds.map(({ tookMs }) => tookMs)),
    failedRounds: rounds
      .filter((round) => !isClean(round))
      .map(({ seed: of, problems, dir }) => ({ seed: of, problems, dir })),
    byKind,
    seed,
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim() ?? 'unknown'}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ${os.type()} ${os.release()}`,
    node: process.version,
    redis: /v=(\S+)/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown',
    date: new Date().toISOString(),
  };
}

type Spread = { median: number | null; max: number | null };

function spreadOf(values: readonly (number | null)[]): Spread {
  const sorted = values.filter((value) => value !== null).toSorted((a, b) => a - b);
  return { median: sorted[Math.floor((sorted.length - 1) / 2)] ?? null, max: sorted.at(-1) ?? null };
}

/** One line of progress. */
export function describeRound(result: RoundResult, index: number, of: number): string {
  const blows = result.struck.map(({ kind }) => kind).join(' ');
  const stalled = result.isUnjudged ? `clean, windows not judged (stood still for ${result.benchStallMs} ms)` : 'clean';
  const wrong = isClean(result) ? stalled : `WRONG ${describeWrong(result)}`;
  return `round ${index}/${of}  seed ${result.seed}  ${(result.tookMs / 1000).toFixed(1)} s  ${wrong}  ${blows}`;
}

export function describeWrong(result: RoundResult): string {
  const counts = summed.slice(0, summed.indexOf('possiblyBilled')).filter((field) => result[field] !== 0);
  const stall = `(the bench itself stood still for up to ${result.benchStallMs} ms)`;
  return [...counts.map((field) => `${field} ${result[field]}`), ...result.problems, stall].join(', ');
}

export function table(results: Results): string {
  const seconds = (ms: number | null) => (ms === null ? '-' : `${(ms / 1000).toFixed(1)} s`);
  const rows: [string, string | number][] = [
    ['rounds', results.rounds],
    ['blows struck', results.blows],
    ['lines', results.lines],
    ['calls at the providers', results.calls],
    ['lines lost', results.lost],
    ['lines doubled', results.doubled],
    ['lines torn', results.torn],
    ['lines with another line\u2019s answer', results.mixedUp],
    ['calls over a limit', results.overLimit],
    ['not judged, as the bench stood still: rounds / over', `${results.unjudgedRounds} / ${results.overLimitUnjudged}`],
    ['calls after an organisation\u2019s 402', results.callsAfterOrgCap],
    ['ledger rows missing', results.ledgerMissing],
    ['ledger rows doubled', results.ledgerDoubled],
    ['money difference, nano USD', results.moneyDiffNanoUsd],
    ['possibly billed / calls truly unanswered', `${results.possiblyBilled} / ${results.unanswered}`],
    ['recovery, median / longest', `${seconds(results.recoverMs.median)} / ${seconds(results.recoverMs.max)}`],
    [
      'longest standstill of a round, median / longest',
      `${seconds(results.standstillMs.median)} / ${seconds(results.standstillMs.max)}`,
    ],
    ['a round, median / longest', `${seconds(results.roundMs.median)} / ${seconds(results.roundMs.max)}`],
  ];
  const kinds = Object.entries(results.byKind).map(([kind, { blows, recoverMs }]): [string, string] => [
    `  ${kind}`,
    `${String(blows).padEnd(5)} recovery ${seconds(recoverMs.median)} / ${seconds(recoverMs.max)}`,
  ]);
  const all = [...rows, ...kinds];
  const width = Math.max(...all.map(([name]) => name.length)) + 2;
  return all.map(([name, value]) => `${name.padEnd(width)}${value}`).join('\n');
}
