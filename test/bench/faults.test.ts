/**
 * The fault benchmark: a very short run of it is clean, and its audit sees what it is there to see. Which blows fall
 * where is the seed's; what they do to a run is proved by the long runs of `npm run bench:faults`.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { auditFiles, auditLedger, indexById, type Audit, type LedgerRow } from '../../bench/faults/audit.ts';
import { blowKinds, drawRound } from '../../bench/faults/blows.ts';
import { countAfterCap } from '../../bench/faults/org-cap.ts';
import { judge } from '../../bench/faults/round.ts';
import type { SeenCall } from '../../bench/faults/witness.ts';
import { startProcess } from '../support/process.ts';

const command = path.resolve(import.meta.dirname, '../../bench/faults.ts');

function makeDir(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-bench-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Draws a full disk, an empty organisation (exit code 3, and on) and kills of everything, over small batches. */
const shortSeed = 11_427;

test('two rounds of kills, a full disk and an empty purse end clean', { timeout: 300_000 }, async () => {
  const out = path.join(makeDir(), 'faults.json');
  const only = 'kill_worker,kill_run,kill_redis,cut_network,storm_5xx,exhaust_org,fill_disk,step_clock';
  const bench = startProcess([
    command,
    '--rounds',
    '2',
    '--seed',
    `${shortSeed}`,
    '--only',
    only,
    '--out',
    out,
    '--json',
  ]);
  const code = await bench.ended;
  expect(bench.stderr()).not.toContain('Not clean');
  expect(code).toBe(0);
  const results = JSON.parse(readFileSync(out, 'utf8')) as Record<string, number>;
  expect(JSON.parse(bench.stdout())).toEqual(results);
  expect(results).toMatchObject({
    rounds: 2,
    lost: 0,
    doubled: 0,
    torn: 0,
    mixedUp: 0,
    overLimit: 0,
    callsAfterOrgCap: 0,
    ledgerMissing: 0,
    ledgerDoubled: 0,
    moneyDiffNanoUsd: 0,
    failedRounds: [],
    seed: shortSeed,
  });
  expect(results['blows']).toBeGreaterThanOrEqual(2);
  expect(results['calls']).toBeGreaterThanOrEqual(results['lines'] as number);
});

test('an unknown blow is refused with the list of those there are', async () => {
  const bench = startProcess([command, '--only', 'earthquake']);
  expect(await bench.ended).toBe(2);
  expect(bench.stderr()).toContain('kill_worker');
});

test('the same seed draws the same round, and many seeds draw every blow', () => {
  expect(drawRound(7)).toEqual(drawRound(7));
  expect(drawRound(7)).not.toEqual(drawRound(8));
  const rounds = Array.from({ length: 200 }, (_, seed) => drawRound(seed));
  const drawn = new Set(rounds.flatMap(({ blows }) => blows.map(({ kind }) => kind)));
  expect([...drawn].toSorted()).toEqual(blowKinds.toSorted());
  for (const { blows, rpms } of rounds) {
    expect(blows.length).toBeGreaterThanOrEqual(2);
    expect(rpms.flat()).toHaveLength(4);
  }
});

function call(id: string, more: Partial<SeenCall> = {}): SeenCall {
  const of = { provider: 'north', keyName: 'n1', customId: 'line-0001', arrivedAtMs: 0, endedAtMs: 10 };
  return { id, ...of, status: 200, isWhole: true, ...more };
}

function row(requestId: string | null, more: Partial<LedgerRow> = {}): LedgerRow {
  const costNanoUsd = requestId === null ? null : 500;
  const answer = { outcome: 'completed', httpStatus: requestId === null ? null : 200, costSource: 'provider' };
  const startedAt = '2027-01-31T12:00:00.000Z';
  return { customId: 'line-0001', keyName: 'n1', ...answer, requestId, costNanoUsd, startedAt, ...more };
}

test('a bench that stood still for longer than the guard leaves to the network does not judge windows, but all else', () => {
  const audited = { overLimit: 3, lost: 1 } as Audit;
  expect(judge(audited, 100)).toEqual({ lost: 1, overLimit: 3, overLimitUnjudged: 0, isUnjudged: false });
  expect(judge(audited, 101)).toEqual({ lost: 1, overLimit: 0, overLimitUnjudged: 3, isUnjudged: true });
});

describe('the audit of the ledger', () => {
  const bills = new Map([
    ['a', 500],
    ['b', 700],
  ]);
  const clean = { ledgerMissing: 0, ledgerDoubled: 0, moneyDiffNanoUsd: 0 };

  test('finds nothing where each call has its row', () => {
    const calls = [call('a'), call('b', { customId: 'line-0002' })];
    const rows = [row('a'), row('b', { customId: 'line-0002', costNanoUsd: 700 })];
    expect(auditLedger(rows, calls, bills)).toMatchObject({ ...clean, unanswered: 0, possiblyBilled: 0 });
  });

  test('wants a row without an answer for a call whose answer was lost', () => {
    const unknown = row(null, { outcome: 'unknown' });
    expect(auditLedger([unknown], [call('a')], bills)).toMatchObject({
      ...clean,
      unanswered: 1,
      possiblyBilled: 1,
      billedUnanswered: 1,
    });
    expect(auditLedger([], [call('a')], bills)).toMatchObject({ ledgerMissing: 1, moneyDiffNanoUsd: 500 });
    const ofAnotherLine = row(null, { outcome: 'unknown', customId: 'line-0002' });
    expect(auditLedger([ofAnotherLine], [call('a')], bills)).toMatchObject({ ledgerMissing: 1 });
    expect(auditLedger([unknown], [call('a'), call('b')], bills)).toMatchObject({ ledgerMissing: 1 });
    const cut = row(null, { outcome: 'failed', costSource: 'unanswered' });
    expect(auditLedger([cut], [call('a')], bills)).toMatchObject({ ...clean, unanswered: 1, possiblyBilled: 1 });
    const refusedConnection = row(null, { outcome: 'failed', costSource: 'none' });
    expect(auditLedger([refusedConnection], [call('a')], bills)).toMatchObject({ ledgerMissing: 1 });
  });

  test('sees a call booked twice, a row of no call, and a wrong key', () => {
    expect(auditLedger([row('a'), row('a')], [call('a')], bills)).toMatchObject({
      ledgerDoubled: 1,
      moneyDiffNanoUsd: 500,
    });
    expect(auditLedger([row('a'), row('z')], [call('a')], bills)).toMatchObject({ ledgerDoubled: 1 });
    expect(auditLedger([row('a', { keyName: 'n2' })], [call('a')], bills)).toMatchObject({ ledgerDoubled: 1 });
  });

  test('adds differences up, so that none makes up for another', () => {
    const calls = [call('a'), call('b')];
    const rows = [row('a', { costNanoUsd: 490 }), row('b', { costNanoUsd: 710 })];
    expect(auditLedger(rows, calls, bills)).toMatchObject({ ...clean, moneyDiffNanoUsd: 20 });
    expect(auditLedger([row('a', { costNanoUsd: null })], [call('a')], bills).moneyDiffNanoUsd).toBe(500);
    expect(auditLedger([row(null, { costNanoUsd: 5 })], [], bills).moneyDiffNanoUsd).toBe(5);
  });
});

describe('the audit of the files', () => {
  const calls = indexById([call('a'), call('b', { customId: 'line-0002' })]);
  const line = (id: number, requestId: string) =>
    JSON.stringify({ custom_id: `line-000${id}`, response: { request_id: requestId }, error: null });

  function auditOf(output: string, errors = ''): Record<string, number> {
    const dir = makeDir();
    writeFileSync(path.join(dir, 'in.output.jsonl'), output);
    writeFileSync(path.join(dir, 'in.errors.jsonl'), errors);
    return auditFiles(dir, 2, calls);
  }

  const [first, second] = [`${line(1, 'a')}\n`, `${line(2, 'b')}\n`];
  test.each([
    ['finds nothing where each line is there once', first + second, '', {}],
    ['counts a line of the error file as ended', first, second, { linesInErrorFile: 1 }],
    ['sees a line that is missing', first, '', { lost: 1 }],
    ['sees a line that is there twice', first + second + first, '', { doubled: 1 }],
    ['sees a line that is in both files', first + second, second, { doubled: 1, linesInErrorFile: 1 }],
    ['sees a line that was never asked for', `${first}${second}${line(3, 'a')}\n`, '', { doubled: 1, mixedUp: 1 }],
    ['sees a torn line', `${first}${second.slice(0, 20)}\n`, '', { torn: 1, lost: 1 }],
    ['sees a torn end', `${first}${second.trimEnd()}`, '', { torn: 1, lost: 1 }],
    ['sees a hole', `${first}\0\0\0\0${second}`, '', { torn: 1, lost: 1 }],
    ['sees another line\u2019s answer', `${line(1, 'b')}\n${line(2, 'a')}\n`, '', { mixedUp: 2 }],
  ])('%s', (_, output, errors, expected) => {
    const nothing = { lost: 0, doubled: 0, torn: 0, mixedUp: 0, linesInErrorFile: 0 };
    expect(auditOf(output, errors)).toEqual({ ...nothing, ...expected });
  });
});

test('calls after the organisation\u2019s first 402 count, but for those that were in flight', () => {
  const told = call('a', { status: 402, arrivedAtMs: 1000, endedAtMs: 1010 });
  const inFlight = call('b', { status: 402, arrivedAtMs: 1300 });
  const late = call('c', { status: 402, arrivedAtMs: 1400 });
  const elsewhere = call('d', { provider: 'south', arrivedAtMs: 1400 });
  const afterwards = call('e', { arrivedAtMs: 9000 });
  const calls = [told, inFlight, late, elsewhere, afterwards];
  const period = { provider: 'north', fromMs: 900, knownAtMs: 1100, untilMs: 8000 };
  const count = (more: Partial<typeof period> = {}, brokeKeys: string[] = []) =>
    countAfterCap(calls, { ...period, ...more }, ({ arrivedAtMs }) => arrivedAtMs, new Set(brokeKeys));
  expect(count()).toBe(1);
  expect(count({ knownAtMs: 1000 })).toBe(2);
  expect(count({ untilMs: 1350 })).toBe(0);
  // Redis was told far too late.
  expect(count({ knownAtMs: 9000, untilMs: 9500 })).toBe(1);
});
