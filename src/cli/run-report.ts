/** The end of a run: one object on stdout with --json, a few lines on stderr for people, and the exit code. */
import { answersFileOf } from '../batch/answers-csv.ts';
import { isFinished, type BatchRecord, type Stop } from '../batch/batch.ts';
import { budgetSpent } from '../batch/budget-spent.ts';
import { usd } from '../batch/manifest.ts';
import { otherLedgers } from '../batch/ledgers.ts';
import { moneyOf, toldNanoUsd, type Spent } from '../batch/spent.ts';
import { nanoUsdPerUsd } from '../config.ts';
import { AppError, type AppErrorCode } from '../errors.ts';
import { formatCost, formatCount, formatCounted } from '../ledger/report.ts';

/** As a shell takes it, unquoted. */
export function nameToType({ name, batchId }: BatchRecord): string {
  return /^[\w.-]+$/.test(name) ? name : batchId;
}

/** Stops that the same command ends in again, unless a person has done before what their cause says. */
const firstOfAll: Partial<Record<AppErrorCode, string>> = {
  budget: 'Once that is done',
  credentials: 'Once that is done',
  config: 'Once that is put right',
};

function describeGoingOn({ code, cause }: Stop, resume: string | null): string | null {
  // Here the command itself has to be another.
  if (cause === budgetSpent.batch) return resume && `Or give it to: ${resume} --budget <usd>`;
  return `${firstOfAll[code] ?? 'To go on'}, type the same command again${resume ? `, or: ${resume}` : ''}`;
}

/** As after an interruption: the same command goes on. */
const notFinished = 130;

type Ended = { record: BatchRecord; ledger: Spent };

export function reportRun(
  { record, ledger }: Ended,
  options: { json: boolean; simulated: boolean; interrupted?: boolean },
): number {
  const { costNanoUsd, possiblyBilled } = moneyOf(record, ledger);
  const stop = options.interrupted ? { code: 'interrupted' as const, cause: 'interrupted' } : record.stop;
  const answers = answersOf(record);
  if (options.json) {
    printResult(record, stop, { costUsd: usd(costNanoUsd), possiblyBilled });
  }
  const { completed, failed } = record.counts;
  const say = (text: string) => process.stderr.write(`${text}\n`);
  const tokens = `${formatCount(ledger.inputTokens)} + ${formatCount(ledger.outputTokens)} tokens`;
  say(
    `${record.name}: ${record.status}, ${formatCount(completed)} of ${formatCount(record.total)} lines completed, ` +
      `${formatCount(failed)} failed`,
  );
  if (failed > 0) {
    const codes = Object.entries(record.errorCodes).toSorted(([, a], [, b]) => b - a);
    say(`  failed: ${codes.map(([code, count]) => `${code} ${formatCount(count)}`).join(', ')}`);
  }
  if (possiblyBilled > 0) {
    say(`  possibly billed: ${formatCounted(possiblyBilled, 'call')} of which no whole answer came`);
  }
  say(`  used      ${tokens}, ${formatCost({ ...ledger, costNanoUsd })}`);
  for (const place of otherLedgers(record)) say(`  ledger    a part is not here; it was in ${place}`);
  say(`  output    ${record.outputFile}`);
  if (failed > 0) say(`  errors    ${record.errorFile}`);
  if (answers) say(`  answers   ${answers}`);
  say(`  manifest  ${record.manifestFile}`);
  if (stop) {
    say(`Stopped: ${stop.cause}.`);
    const howToGoOn = describeGoingOn(stop, options.simulated ? null : `nightshift resume ${nameToType(record)}`);
    if (howToGoOn) say(howToGoOn);
    return new AppError(stop.code, stop.cause).exitCode;
  }
  if (record.status === 'cancelled') {
    const other = 'to start anew, choose another --name or --out, or move its files and its manifest away';
    const rest = `To send the other lines after all: nightshift retry ${nameToType(record)}; ${other}.`;
    say(record.errorCodes['cancelled'] ? `It was cancelled. ${rest}` : 'It was cancelled, and no line was left.');
  } else if (record.status !== 'completed') {
    say('It is not finished, and another process has gone on with it; see: nightshift status');
    return notFinished;
  }
  return failed > 0 ? 1 : 0;
}

/** One object on stdout, for a run that can ask nobody any more: as things were when it last heard of them. */
export function reportLost(record: BatchRecord, { code, message: cause }: AppError): void {
  const told = toldNanoUsd(record);
  const costUsd = told === null ? null : told / nanoUsdPerUsd;
  printResult(record, { code, cause }, { costUsd, possiblyBilled: record.possiblyBilled });
}

function printResult(
  record: BatchRecord,
  stoppedBy: Stop | null,
  money: { costUsd: number | null; possiblyBilled: number },
): void {
  const answers = answersOf(record);
  const result = {
    batchId: record.batchId,
    name: record.name,
    status: record.status,
    counts: { total: record.total, ...record.counts },
    ...money,
    outputFile: record.outputFile,
    errorFile: record.errorFile,
    manifestFile: record.manifestFile,
    ...(answers && { answersFile: answers }),
    stoppedBy,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function answersOf(record: BatchRecord): string | null {
  return record.options.csv && isFinished(record) ? answersFileOf(record) : null;
}
