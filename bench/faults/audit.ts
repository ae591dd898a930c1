/**
 * The audit after a round: result files, ledger and the witness' list of calls are held against each other, call by
 * call. Nothing is estimated and nothing cancels out.
 *
 * - A ledger row that names the provider's id of a call is that call's row. A call's cost and its row's must be equal;
 *   the difference is added up as an absolute value.
 * - A call that no row names is *unanswered*: its answer was lost to a crash, a cut network or a fault. For each there
 *   must be a row of the same line and key that says so (possibly billed, or an error without an id); else it is missing.
 * - Rows beyond that, with an id that no call has or an id that another row has, are doubled.
 * - Rows that say that they are *possibly billed*: as many as there were calls without an answer, or more where a sender
 *   died between the granting and the sending.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { idOf, type Place } from './place.ts';
import { readBills, type SeenCall } from './witness.ts';

export type Audit = {
  lost: number;
  doubled: number;
  torn: number;
  /** Lines that bear another line's answer. */
  mixedUp: number;
  overLimit: number;
  ledgerMissing: number;
  ledgerDoubled: number;
  moneyDiffNanoUsd: number;
  possiblyBilled: number;
  unanswered: number;
  /** Not counted as failures, for the report. */
  calls: number;
  billedUnanswered: number;
  linesInErrorFile: number;
  linesPaidTwice: number;
};

export type LedgerRow = {
  customId: string;
  keyName: string;
  outcome: string;
  httpStatus: number | null;
  costSource: string;
  requestId: string | null;
  costNanoUsd: number | null;
  startedAt: string;
};

/** `sentAtMs`: when a call was sent, by its ledger row; on the clock of `performance.now`. */
export async function audit(
  place: Place,
  lineCount: number,
): Promise<Audit & { sentAtMs: (call: SeenCall) => number }> {
  // A head whose body never came is no call; one that was refused at its head is.
  const calls = place.witness.calls.filter(({ customId, status }) => customId !== null || status !== null);
  const bills = await readBills(new Map(place.providers.map(({ name, simulator }) => [name, simulator])));
  const rows = readLedger(path.join(place.dir, '.nightshift/ledger.db'));
  return {
    ...auditFiles(place.outDir, lineCount, indexById(calls)),
    ...auditLedger(rows, calls, bills),
    overLimit: countOverLimit(place),
    calls: calls.length,
    sentAtMs: sendingTimes(rows),
  };
}

/** A worker whose wall clock stepped says nothing: then it is the time of arrival. */
const mostBetweenMs = 60_000;

/** Of a call whose answer was lost, by the rows without an answer of its line and key. */
function sendingTimes(rows: readonly LedgerRow[]): (call: SeenCall) => number {
  const timeOf = ({ startedAt }: LedgerRow) => Date.parse(startedAt) - performance.timeOrigin;
  const named = new Map(rows.map((row) => [row.requestId, timeOf(row)]));
  const answerless = rows.filter(({ requestId }) => requestId === null);
  return ({ id, customId, keyName, arrivedAtMs }) => {
    const own = id === null ? undefined : named.get(id);
    const times =
      own === undefined
        ? answerless.filter((row) => row.customId === customId && row.keyName === keyName).map(timeOf)
        : [own];
    return Math.min(arrivedAtMs, ...times.filter((at) => arrivedAtMs - at < mostBetweenMs));
  };
}

export function indexById(calls: readonly SeenCall[]): Map<string, SeenCall> {
  return new Map(calls.flatMap((call) => (call.id === null ? [] : [[call.id, call] as const])));
}

/** `byId`: the calls, to tell whether each answer is that of its line. */
export function auditFiles(outDir: string, lineCount: number, byId: ReadonlyMap<string, SeenCall>) {
  const found = new Map<string, number>();
  let [torn, mixedUp, strangers, linesInErrorFile] = [0, 0, 0, 0];
  const expected = new Set(Array.from({ length: lineCount }, (_, index) => idOf(index)));
  for (const name of ['in.output.jsonl', 'in.errors.jsonl']) {
    const file = path.join(outDir, name);
    const lines = (existsSync(file) ? readFileSync(file, 'utf8') : '').split('\n');
    if (lines.pop() !== '') torn += 1;
    for (const line of lines) {
      const result = parseResult(line);
      if (!result) {
        torn += 1;
        continue;
      }
      const { custom_id: id, response } = result;
      if (!expected.has(id)) strangers += 1;
      found.set(id, (found.get(id) ?? 0) + 1);
      if (name === 'in.errors.jsonl') linesInErrorFile += 1;
      const call = byId.get(response?.request_id ?? '');
      if (name === 'in.output.jsonl' && call?.customId !== id) mixedUp += 1;
    }
  }
  const lost = [...expected].filter((id) => !found.has(id)).length;
  const doubled = strangers + [...found.values()].reduce((sum, times) => sum + times - 1, 0);
  return { lost, doubled, torn, mixedUp, linesInErrorFile };
}

type Result = { custom_id: string; response: { request_id: string | null } | null };

function parseResult(line: string): Result | null {
  try {
    return JSON.parse(line) as Result;
  } catch {
    return null;
  }
}

const isPossiblyBilled = ({ outcome, costSource }: LedgerRow) => outcome === 'unknown' || costSource === 'unanswered';

/** `bills`: nano USD by the id of the call. */
export function auditLedger(
  rows: readonly LedgerRow[],
  calls: readonly SeenCall[],
  bills: ReadonlyMap<string, number>,
) {
  const byId = indexById(calls);
  let [ledgerDoubled, moneyDiffNanoUsd, billedUnanswered] = [0, 0, 0];
  const named = new Set<string>();
  const answerless = new Map<string, number>();
  const place = (customId: string | null, keyName: string) => `${customId ?? ''} ${keyName}`;
  for (const row of rows) {
    if (row.requestId === null) {
      moneyDiffNanoUsd += row.costNanoUsd ?? 0;
      // Else not even a word that there may have been an answer: a connection that could not be had.
      if (isPossiblyBilled(row) || row.httpStatus !== null) {
        const at = place(row.customId, row.keyName);
        answerless.set(at, (answerless.get(at) ?? 0) + 1);
      }
      continue;
    }
    const call = byId.get(row.requestId);
    if (!call || named.has(row.requestId) || call.keyName !== row.keyName) {
      ledgerDoubled += 1;
      moneyDiffNanoUsd += row.costNanoUsd ?? 0;
      continue;
    }
    named.add(row.requestId);
    moneyDiffNanoUsd += Math.abs((bills.get(row.requestId) ?? 0) - (row.costNanoUsd ?? 0));
  }
  const unnamed = calls.filter(({ id }) => id === null || !named.has(id));
  let ledgerMissing = 0;
  for (const { id, customId, keyName } of unnamed) {
    const bill = bills.get(id ?? '') ?? 0;
    const at = place(customId, keyName);
    const left = answerless.get(at) ?? 0;
    answerless.set(at, left - 1);
    if (bill > 0) billedUnanswered += 1;
    if (left > 0) continue;
    ledgerMissing += 1;
    moneyDiffNanoUsd += bill;
  }
  const completed = new Map<string, number>();
  for (const { outcome, customId } of rows) {
    if (outcome === 'completed') completed.set(customId, (completed.get(customId) ?? 0) + 1);
  }
  return {
    ledgerMissing,
    ledgerDoubled,
    moneyDiffNanoUsd,
    possiblyBilled: rows.filter(isPossiblyBilled).length,
    unanswered: unnamed.length,
    billedUnanswered,
    linesPaidTwice: [...completed.values()].filter((times) => times > 1).length,
  };
}

/** Refused by the window itself (scripted refusals do not count here), or let in above it. */
function countOverLimit({ providers }: Place): number {
  return providers
    .flatMap(({ simulator }) => {
      const truth = simulator.truth();
      return simulator.keys.map(({ name, rpm }) => {
        const { rejected429 = 0, maxInWindow = 0 } = truth.keys[name] ?? {};
        return rejected429 + Math.max(0, maxInWindow - (rpm ?? Number.POSITIVE_INFINITY));
      });
    })
    .reduce((sum, count) => sum + count, 0);
}

function readLedger(file: string): LedgerRow[] {
  if (!existsSync(file)) return [];
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const columns = `custom_id as "customId", key_name as "keyName", outcome, http_status as "httpStatus",
      cost_source as "costSource", request_id as "requestId", cost_nano_usd as "costNanoUsd", started_at as "startedAt"`;
    return database.prepare(`select ${columns} from ledger`).all() as LedgerRow[];
  } finally {
    database.close();
  }
}
