/**
 * The ledger in SQLite (node:sqlite), the default store: `<dataDir>/ledger.db`, table `ledger`. One file, several
 * processes. SQLite answers synchronously; the interface does not, so that callers fit any store.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite';
import { AppError } from '../errors.ts';
import { ledgerOutcomes, type LedgerEntry, type LedgerOutcome } from './entry.ts';
import { canMakeLedger, explainSqliteError, inTransaction, openLedgerFile } from './sqlite-file.ts';
import type { BatchSummary, LedgerStore, Totals, UsageGrouping, UsageQuery, UsageRow } from './store.ts';

type Row = Record<string, SQLOutputValue>;

/** Column → value, in the order of the table. */
const columns: Record<string, (entry: LedgerEntry) => SQLInputValue> = {
  attempt_id: (entry) => entry.attemptId,
  batch_id: (entry) => entry.batchId,
  custom_id: (entry) => entry.customId,
  line: (entry) => entry.line,
  provider: (entry) => entry.provider,
  key_id: (entry) => entry.keyId,
  key_name: (entry) => entry.keyName,
  requested_model: (entry) => entry.requestedModel,
  resolved_model: (entry) => entry.resolvedModel,
  outcome: (entry) => entry.outcome,
  http_status: (entry) => entry.httpStatus,
  error_code: (entry) => entry.errorCode,
  started_at: (entry) => new Date(entry.startedAtMs).toISOString(),
  duration_ms: (entry) => entry.durationMs,
  input_tokens: (entry) => entry.inputTokens,
  output_tokens: (entry) => entry.outputTokens,
  cached_tokens: (entry) => entry.cachedTokens,
  reasoning_tokens: (entry) => entry.reasoningTokens,
  cost_nano_usd: (entry) => entry.costNanoUsd,
  cost_source: (entry) => entry.costSource,
  request_id: (entry) => entry.requestId,
  first_token_ms: (entry) => entry.firstTokenMs,
};
const columnNames = Object.keys(columns);
const columnValues = Object.values(columns);

// What is known stays: only an `unknown` row gives way, and only to a known outcome.
const insertSql = `
  insert into ledger (${columnNames.join(', ')}) values (${columnNames.map(() => '?').join(', ')})
  on conflict (attempt_id) do update set ${columnNames.map((name) => `${name} = excluded.${name}`).join(', ')}
  where ledger.outcome = 'unknown' and excluded.outcome <> 'unknown'`;

const summedColumns = ['input_tokens', 'output_tokens', 'cached_tokens', 'reasoning_tokens', 'cost_nano_usd'] as const;

// SQLite's sum() fails beyond 64 bits, which a thousand rows of the largest value reach. Summed in two halves of 32
// bits it is exact for two billion rows of any value.
const totalsSql = [
  ...ledgerOutcomes.map((outcome) => `count(*) filter (where outcome = '${outcome}') as outcome_${outcome}`),
  ...summedColumns.flatMap((name) => [
    `coalesce(sum(${name} >> 32), 0) as ${name}_high`,
    `coalesce(sum(${name} & 0xffffffff), 0) as ${name}_low`,
  ]),
  'count(cost_nano_usd) as cost_known',
  `count(*) filter (where outcome = 'completed' and cost_nano_usd is null) as cost_unknown`,
  `count(*) filter (where outcome = 'unknown' or cost_source = 'unanswered') as possibly_billed`,
].join(', ');

const groupings: Record<UsageGrouping, { label: string; groupBy: string }> = {
  key: { label: 'key_name', groupBy: 'key_name, key_id' },
  model: { label: 'resolved_model', groupBy: 'resolved_model' },
  day: { label: 'substr(started_at, 1, 10)', groupBy: 'substr(started_at, 1, 10)' },
  batch: { label: 'batch_id', groupBy: 'batch_id' },
};

/**
 * Opens the ledger in `file`, or makes it when it is first needed: a command that is refused leaves none behind. Errors:
 * AppError `disk` or `config`, naming the file and the cure; at once also where none can be made.
 */
export function openSqliteLedger(file: string): LedgerStore {
  let opened: ReturnType<typeof openTable> | null = null;
  const open = () => (opened ??= openTable(file));
  if (existsSync(file) || !canMakeLedger(file)) open();
  return {
    get id() {
      return open().id;
    },
    get isThere() {
      return opened !== null || existsSync(file);
    },
    directory: path.dirname(path.resolve(file)),
    async insert(entries) {
      if (entries.length === 0) return;
      const { database, insert } = open();
      inTransaction(file, database, 'immediate', () => {
        for (const entry of entries) insert.run(...columnValues.map((value) => value(entry)));
      });
    },
    async usage(query) {
      const { database } = open();
      return readOr(file, () => readUsage(database, query));
    },
    async batchSummary(batchId) {
      // One transaction: the parts of the summary tell of the same moment.
      const { database } = open();
      return inTransaction(file, database, 'deferred', () => readBatchSummary(database, batchId));
    },
    async close() {
      if (opened?.database.isOpen) opened.database.close();
    },
  };
}

function openTable(file: string) {
  const database = openLedgerFile(file);
  const id = String(database.prepare('select id from identity').get()?.['id']);
  return { database, id, insert: database.prepare(insertSql) };
}

function readOr<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw explainSqliteError(file, error);
  }
}

function readUsage(database: DatabaseSync, query: UsageQuery): UsageRow[] {
  const { where, values } = conditionsOf(query);
  if (query.by === null) {
    return select(database, `select ${totalsSql} from ledger ${where}`, values).map((row) => ({
      label: 'total',
      ...totalsOf(row),
    }));
  }
  const { label, groupBy } = groupings[query.by];
  const sql = `select ${label} as label, min(key_id) as key_id, ${totalsSql} from ledger ${where} group by ${groupBy}`;
  const rows = select(database, sql, values);
  const keysByLabel = Map.groupBy(rows, (row) => row['label']);
  return rows
    .map((row) => {
      const name = String(row['label']);
      const isShared = (keysByLabel.get(row['label'])?.length ?? 0) > 1;
      return { label: isShared ? `${name} (${String(row['key_id'])})` : name, ...totalsOf(row) };
    })
    .toSorted((a, b) => (a.label < b.label ? -1 : 1));
}

function conditionsOf(query: UsageQuery): { where: string; values: string[] } {
  const conditions: [sql: string, value: string][] = [];
  if (query.batchId !== undefined) conditions.push(['batch_id = ?', query.batchId]);
  if (query.from !== undefined) conditions.push(['started_at >= ?', dayOf(query.from)]);
  // '~' sorts after the 'T' that follows the day: up to the day's last millisecond.
  if (query.to !== undefined) conditions.push(['started_at < ?', `${dayOf(query.to)}~`]);
  return {
    where: conditions.length === 0 ? '' : `where ${conditions.map(([sql]) => sql).join(' and ')}`,
    values: conditions.map(([, value]) => value),
  };
}

function dayOf(text: string): string {
  assert.match(text, /^\d{4}-\d{2}-\d{2}$/);
  return text;
}

function readBatchSummary(database: DatabaseSync, batchId: string): BatchSummary {
  const read = (sql: string) => select(database, sql, [batchId]);
  const [total] = read(`select ${totalsSql} from ledger where batch_id = ?`);
  assert.ok(total);
  const keys = read(
    `select provider, key_id, key_name, ${totalsSql} from ledger where batch_id = ?
     group by provider, key_name, key_id order by provider, key_name, key_id`,
  );
  const models = read(
    `select requested_model, resolved_model, count(*) filter (where outcome = 'completed') as completed
     from ledger where batch_id = ? group by requested_model, resolved_model
     order by completed desc, requested_model, resolved_model`,
  );
  const errorCodes = read(
    `select error_code, count(*) as attempts from ledger where batch_id = ? and error_code is not null
     group by error_code order by attempts desc, error_code`,
  );
  return {
    batchId,
    ...totalsOf(total),
    errorCodes: Object.fromEntries(errorCodes.map((row) => [String(row['error_code']), Number(row['attempts'])])),
    models: models.map((row) => ({
      requested: String(row['requested_model']),
      resolved: String(row['resolved_model']),
      completed: Number(row['completed']),
    })),
    keys: keys.map((row) => ({
      name: String(row['key_name']),
      keyId: String(row['key_id']),
      provider: String(row['provider']),
      ...totalsOf(row),
    })),
  };
}

function select(database: DatabaseSync, sql: string, values: string[]): Row[] {
  const statement = database.prepare(sql);
  statement.setReadBigInts(true);
  return statement.all(...values);
}

function totalsOf(row: Row): Totals {
  const outcomes = Object.fromEntries(
    ledgerOutcomes.map((outcome) => [outcome, Number(row[`outcome_${outcome}`])]),
  ) as Record<LedgerOutcome, number>;
  const attempts = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
  const costUnknown = Number(row['cost_unknown']);
  const possiblyBilled = Number(row['possibly_billed']);
  const isNothingKnown = row['cost_known'] === 0n && costUnknown + possiblyBilled > 0;
  return {
    attempts,
    completed: outcomes.completed,
    failed: attempts - outcomes.completed,
    outcomes,
    inputTokens: tokensOf(row, 'input_tokens'),
    outputTokens: tokensOf(row, 'output_tokens'),
    cachedTokens: tokensOf(row, 'cached_tokens'),
    reasoningTokens: tokensOf(row, 'reasoning_tokens'),
    costNanoUsd: isNothingKnown ? null : sumOf(row, 'cost_nano_usd'),
    costUnknown,
    possiblyBilled,
  };
}

function sumOf(row: Row, column: (typeof summedColumns)[number]): bigint {
  const [high, low] = [row[`${column}_high`], row[`${column}_low`]];
  assert.ok(typeof high === 'bigint' && typeof low === 'bigint');
  return (high << 32n) + low;
}

/** Tokens fit a number: 2^53 is a million a second for 285 years. A provider that claims more is not rounded away. */
function tokensOf(row: Row, column: (typeof summedColumns)[number]): number {
  const sum = sumOf(row, column);
  if (sum <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(sum);
  throw new AppError('provider', `the ledger's ${column} add up to ${sum}: a provider reports absurd token counts`);
}
