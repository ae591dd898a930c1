/** `nightshift status`: the batches, or one of them. */
import type { Command } from 'commander';
import { isFinished, loadBatch, type BatchRecord } from '../batch/batch.ts';
import { findBatch, listBatches } from '../batch/find.ts';
import { isHeld } from '../batch/lease.ts';
import { describeProgress } from '../batch/progress.ts';
import { toldNanoUsd } from '../batch/spent.ts';
import { formatCount, formatCounted, formatUsd } from '../ledger/report.ts';
import type { Globals } from './main.ts';
import { nameToType } from './run-report.ts';
import { configOf, openSession, type Session } from './session.ts';
import { renderTable } from './table.ts';

type StatusOptions = Globals & { json?: boolean };

export function registerStatus(program: Command): void {
  program
    .command('status')
    .description('Shows the batches and how far they are.')
    .argument('[batch]', 'one of them, by name or id')
    .option('--json', 'JSON on stdout')
    .addHelpText('after', '\nExamples:\n  $ nightshift status\n  $ nightshift status prompts --json')
    .action(async (batch: string | undefined, _: unknown, command: Command) => {
      await status(batch ?? null, command.optsWithGlobals<StatusOptions>());
    });
}

async function status(nameOrId: string | null, options: StatusOptions): Promise<void> {
  await using session = await openSession(options, configOf(options, { secrets: false }));
  const { redis, names } = session;
  const records =
    nameOrId === null ? await listBatches(redis.client, names) : [await findBatch(redis.client, names, nameOrId)];
  const runs = new Map<string, 'somebody' | 'nobody' | null>();
  for (const record of records) runs.set(record.batchId, await whoRuns(session, record));
  if (options.json) {
    const objects = records.map((record) => toJson(record, { running: runs.get(record.batchId) === 'somebody' }));
    process.stdout.write(`${JSON.stringify(nameOrId === null ? objects : objects[0])}\n`);
    return;
  }
  const [only] = records;
  const leftAlone = records.filter(({ batchId }) => runs.get(batchId) === 'nobody');
  const hint = (record: BatchRecord) => `no process runs it; go on with: nightshift resume ${nameToType(record)}`;
  if (nameOrId !== null && only) {
    process.stdout.write(`${describe(only, leftAlone.includes(only) ? hint(only) : null)}\n`);
  } else if (records.length === 0) process.stderr.write('No batch yet.\n');
  else {
    process.stdout.write(table(records));
    for (const record of leftAlone) process.stderr.write(`${record.name}: ${hint(record)}\n`);
  }
}

/** Null where nobody should, or somebody has just ended with it. */
async function whoRuns({ redis, names }: Session, record: BatchRecord): Promise<'somebody' | 'nobody' | null> {
  if (isFinished(record) || record.status === 'paused') return null;
  if (await isHeld(redis.client, names, record.batchId)) return 'somebody';
  const now = await loadBatch(redis.client, names, record.batchId);
  return now?.status === record.status ? 'nobody' : null;
}

/** OpenAI's batch words (providers.md §4). */
function toJson(record: BatchRecord, { running }: { running: boolean }) {
  const told = toldNanoUsd(record);
  return {
    id: record.batchId,
    name: record.name,
    status: record.status,
    // By a process that lives and writes its results.
    running,
    priority: record.options.priority,
    stopped_by: record.stop,
    created_at: Math.floor(record.createdAtMs / 1000),
    request_counts: { total: record.total, ...record.counts },
    cost_usd: told === null ? null : told / 1e9,
    possibly_billed: record.possiblyBilled,
    // At most, and beside `cost_usd`: a budget counts both.
    unknown_cost_up_to_usd: record.unsureNanoUsd / 1e9,
    held: record.held,
    input_file: record.inputFile,
    output_file: record.outputFile,
    error_file: record.errorFile,
    manifest_file: record.manifestFile,
  };
}

function describe(record: BatchRecord, hint: string | null): string {
  const lines = [
    describeProgress(record),
    `  id        ${record.batchId}`,
    `  status    ${record.status}${record.stop ? ` (${record.stop.cause})` : ''}${hint ? `: ${hint}` : cancelledLines(record)}`,
    ...(record.options.priority === 'normal' ? [] : [`  priority  ${record.options.priority}`]),
    `  output    ${record.outputFile}`,
    `  errors    ${record.errorFile}`,
    `  manifest  ${record.manifestFile}`,
  ];
  return lines.join('\n');
}

function cancelledLines(record: BatchRecord): string {
  if (record.status === 'cancelling') return ': nothing more is sent; calls in flight may end';
  return record.status === 'cancelled'
    ? `, ${formatCounted(record.errorCodes['cancelled'] ?? 0, 'line')} not sent`
    : '';
}

function costOf(record: BatchRecord): string {
  const told = toldNanoUsd(record);
  return told === null ? 'unknown' : formatUsd(told);
}

function table(records: BatchRecord[]): string {
  // Most have none but the usual one, and then it is not worth a column; nor is a cost that nobody told.
  const hasPriorities = records.some(({ options }) => options.priority !== 'normal');
  const hasUnsure = records.some(({ unsureNanoUsd }) => unsureNanoUsd > 0);
  const right = (title: string) => ({ title, align: 'right' as const });
  return renderTable(
    [
      { title: 'Batch' },
      { title: 'Status' },
      ...(hasPriorities ? [{ title: 'Priority' }] : []),
      right('Lines'),
      right('Completed'),
      right('Failed'),
      right('Cost'),
      ...(hasUnsure ? [right('Unknown cost')] : []),
      { title: 'Created' },
    ],
    records.map((record) => [
      record.name,
      record.status,
      ...(hasPriorities ? [record.options.priority] : []),
      formatCount(record.total),
      formatCount(record.counts.completed),
      formatCount(record.counts.failed),
      costOf(record),
      ...(hasUnsure ? [record.unsureNanoUsd > 0 ? `up to ${formatUsd(record.unsureNanoUsd)}` : ''] : []),
      new Date(record.createdAtMs).toISOString().slice(0, 16).replace('T', ' '),
    ]),
  );
}
