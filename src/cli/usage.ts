/**
 * `nightshift usage`: what was spent, from the ledger. Results go to stdout, remarks to stderr.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { Option, type Command } from 'commander';
import { loadConfig, type Config } from '../config.ts';
import { AppError } from '../errors.ts';
import { addTotals, formatCost, formatCount, usageCsv, usageJson } from '../ledger/report.ts';
import { openSqliteLedger } from '../ledger/sqlite.ts';
import { usageGroupings, type Totals, type UsageGrouping, type UsageQuery, type UsageRow } from '../ledger/store.ts';
import type { BatchAsked } from './drain-pending.ts';
import type { Globals } from './main.ts';
import { renderTable, type Column } from './table.ts';

type UsageOptions = Globals & {
  by: UsageGrouping;
  batch?: string;
  from?: string;
  to?: string;
  csv?: boolean;
  json?: boolean;
};

export type UsageHooks = {
  /** Moves entries that still wait in Redis into `<dataDir>/ledger.db` before it is read, and looks up `nameOrId`. */
  drainPending?: (config: Config, nameOrId?: string) => Promise<BatchAsked>;
};

const titles: Record<UsageGrouping, string> = { key: 'Key', model: 'Model', day: 'Day (UTC)', batch: 'Batch' };

const examples = `
Examples:
  $ nightshift usage                               what each key has spent
  $ nightshift usage --by day --from 2026-03-01    day by day since then
  $ nightshift usage --by model --batch prompts    which models answered a batch
  $ nightshift usage --by batch --csv > usage.csv  for a spreadsheet

An attempt is one call to a provider. Costs are what the provider reported or,
failing that, tokens times price; "≥" marks a sum of which a part is unknown.`;

export function registerUsage(program: Command, hooks: UsageHooks = {}): void {
  program
    .command('usage')
    .description('Shows attempts, tokens and money by key, model, day or batch.')
    .addOption(new Option('--by <group>', 'one row per').choices(usageGroupings).default('key'))
    .option('--batch <batch>', 'only this batch, by name or id')
    .option('--from <date>', 'first day, YYYY-MM-DD (UTC)')
    .option('--to <date>', 'last day, YYYY-MM-DD (UTC), itself included')
    .addOption(new Option('--csv', 'print CSV').conflicts('json'))
    .option('--json', 'print JSON, costs as whole billionths of a dollar')
    .addHelpText('after', examples)
    .action(async (_options: unknown, command: Command) => {
      await showUsage(command, command.optsWithGlobals<UsageOptions>(), hooks);
    });
}

async function showUsage(command: Command, options: UsageOptions, hooks: UsageHooks): Promise<void> {
  const from = dayOption('--from', options.from);
  const to = dayOption('--to', options.to);
  if (from !== undefined && to !== undefined && from > to) {
    throw new AppError('usage', `--from ${from} is after --to ${to}: expected the earlier day first`);
  }
  const config = loadConfig({ file: options.config, redis: options.redis, data: options.data, secrets: false });
  const asked = await hooks.drainPending?.(config, options.batch);
  const file = path.join(config.dataDir, 'ledger.db');
  const isThere = existsSync(file);
  const batchId =
    options.batch === undefined ? undefined : await batchIdOf(options.batch, asked, isThere ? file : null);
  const rows = isThere ? await readRows(file, { by: options.by, batchId, from, to }) : [];

  const output = command.configureOutput();
  if (options.json) output.writeOut?.(`${usageJson(options.by, rows)}\n`);
  else if (options.csv) output.writeOut?.(usageCsv(options.by, rows));
  else if (rows.length > 0) output.writeOut?.(usageTable(options.by, rows));
  if (!isThere) output.writeErr?.(`No ledger yet: ${file} appears with the first batch.\n`);
  else if (rows.length === 0) output.writeErr?.(`No attempts match in ${file}.\n`);
}

async function readRows(file: string, query: UsageQuery) {
  const store = openSqliteLedger(file);
  try {
    return await store.usage(query);
  } finally {
    await store.close();
  }
}

/** Redis may have forgotten a batch, its name with it, that the ledger still has under its id. Errors: `usage`. */
async function batchIdOf(nameOrId: string, asked: BatchAsked | undefined, file: string | null): Promise<string> {
  if (asked && 'batchId' in asked) return asked.batchId;
  const rows = file === null ? [] : await readRows(file, { by: 'batch' });
  if (rows.some(({ label }) => label === nameOrId)) return nameOrId;
  const known = asked?.known;
  const hasForgotten = known !== undefined && rows.some(({ label }) => !known.includes(label));
  const hint =
    '\nThe ledger has batches by their ids alone: nightshift usage --by batch lists them, and --batch takes one';
  throw new AppError('usage', `${asked?.unknown ?? `no batch "${nameOrId}"`}${hasForgotten ? hint : ''}`);
}

function dayOption(name: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const time = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  // Date.parse takes the 30th of February for the 2nd of March.
  if (!Number.isNaN(time) && new Date(time).toISOString().startsWith(text)) return text;
  throw new AppError('usage', `${name}: expected a day such as 2026-03-31 (YYYY-MM-DD), got "${text}"`);
}

function usageTable(by: UsageGrouping, rows: readonly UsageRow[]): string {
  const total = addTotals(rows);
  const number = (title: string): Column => ({ title, align: 'right' });
  const shown: { column: Column; cell: (totals: Totals) => string }[] = [
    { column: number('Attempts'), cell: (totals) => formatCount(totals.attempts) },
    { column: number('Completed'), cell: (totals) => formatCount(totals.completed) },
    { column: number('Failed'), cell: (totals) => formatCount(totals.failed) },
    { column: number('Input tokens'), cell: (totals) => formatCount(totals.inputTokens) },
  ];
  // Most providers report neither: two columns of zeros would only push the cost off the screen.
  if (total.cachedTokens > 0) {
    shown.push({ column: number('of them cached'), cell: (totals) => formatCount(totals.cachedTokens) });
  }
  shown.push({ column: number('Output tokens'), cell: (totals) => formatCount(totals.outputTokens) });
  if (total.reasoningTokens > 0) {
    shown.push({ column: number('of them reasoning'), cell: (totals) => formatCount(totals.reasoningTokens) });
  }
  shown.push({ column: number('Cost'), cell: formatCost });
  const cells = (label: string, totals: Totals) => [label, ...shown.map(({ cell }) => cell(totals))];
  const table = renderTable(
    [{ title: titles[by] }, ...shown.map(({ column }) => column)],
    rows.map((row) => cells(row.label, row)),
    [cells('Total', total)],
  );
  return table + remarks(total);
}

function remarks(total: Totals): string {
  const lines: string[] = [];
  if (total.possiblyBilled > 0) {
    const attempts = `${formatCount(total.possiblyBilled)} ${total.possiblyBilled === 1 ? 'attempt' : 'attempts'}`;
    lines.push(`Possibly billed: ${attempts} of which no whole answer came; not part of the cost.`);
  }
  if (total.costUnknown > 0) {
    const attempts = `${formatCount(total.costUnknown)} completed ${total.costUnknown === 1 ? 'attempt' : 'attempts'}`;
    lines.push(`Cost unknown: ${attempts}; the provider gave no price, "prices" in the configuration can.`);
  }
  return lines.map((line) => `${line}\n`).join('');
}
