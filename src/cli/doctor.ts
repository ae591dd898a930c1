/** `nightshift doctor`: what is wrong with keys, URLs, budgets, Redis and this machine, and what cures it. */
import type { Command } from 'commander';
import { examine, type DoctorReport } from '../doctor/doctor.ts';
import type { Finding } from '../doctor/finding.ts';
import type { Globals } from './main.ts';
import { createNotices } from './notices.ts';

type Options = Globals & { json?: boolean; send?: boolean };

/** As the other commands: for places where a failover takes longer, and for tests. */
const patienceVariable = 'NIGHTSHIFT_REDIS_PATIENCE_MS';

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Looks for what is wrong with keys, URLs, budgets, Redis and this machine, and says what cures it.')
    .option('--send', 'also send two tiny completions per key, which cost a little and are not in the ledger')
    .option('--json', 'JSON on stdout')
    .addHelpText(
      'after',
      '\nIt spends nothing without --send. Exit code 1 when there is a problem.\n\n' +
        'Examples:\n  $ nightshift doctor\n  $ nightshift doctor --send --json',
    )
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      const report = await examine({
        from: { file: options.config, redis: options.redis, data: options.data },
        send: options.send ?? false,
        log: createNotices(options.logLevel),
        redisGiveUpAfterMs: Number(process.env[patienceVariable]) || undefined,
      });
      process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : renderReport(report, options.send ?? false));
      process.exitCode = report.ok ? 0 : 1;
    });
}

const marks: Record<Finding['level'], string> = { ok: 'ok', warning: 'warning', problem: 'PROBLEM' };
const markWidth = 'PROBLEM'.length;
const checkWidth = 'configuration'.length;
const indent = ' '.repeat(2 + markWidth + 2 + checkWidth + 2);

/** Grouped by subject, in the order in which they were looked at; a good check is one short line. */
export function renderReport({ findings }: DoctorReport, isSent: boolean): string {
  const lines: string[] = [];
  for (const [subject, ofSubject] of Map.groupBy(findings, (finding) => finding.subject)) {
    lines.push(subject, ...ofSubject.flatMap(linesOf), '');
  }
  const count = (level: Finding['level']) => findings.filter((finding) => finding.level === level).length;
  lines.push(`${numbered(count('problem'), 'problem')}, ${numbered(count('warning'), 'warning')}, ${count('ok')} ok.`);
  if (!isSent) lines.push('Nothing was sent. --send also tries two tiny completions per key.');
  return `${lines.join('\n')}\n`;
}

function linesOf({ check, level, what, evidence, cure }: Finding): string[] {
  const head = `  ${marks[level].padEnd(markWidth)}  ${check.padEnd(checkWidth)}  ${what}`;
  if (level === 'ok') return [evidence === null ? head : `${head} (${evidence})`];
  return [head, ...(evidence === null ? [] : [`${indent}seen: ${evidence}`]), `${indent}cure: ${cure ?? ''}`];
}

function numbered(count: number, word: string): string {
  return `${count === 0 ? 'no' : count} ${word}${count === 1 ? '' : 's'}`;
}
