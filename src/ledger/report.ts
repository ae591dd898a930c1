/**
 * Amounts and usage rows as text: for people (money, tokens, durations) and for programs (CSV, JSON). Pure. Money is
 * written from its integer, never through a float.
 */
import { ledgerOutcomes } from './entry.ts';
import type { Totals, UsageGrouping, UsageRow } from './store.ts';

const nanoDigits = 9;
const nanoUsdPerUsd = 10n ** BigInt(nanoDigits);
/** Below a dollar cents say nothing: a completion costs thousandths. */
const significantDigits = 4;

/** `$12.34`, `$0.004213`, `$1,234.50`: cents from a dollar on, below it four significant digits. */
export function formatUsd(nanoUsd: number | bigint): string {
  const amount = BigInt(nanoUsd);
  const absolute = amount < 0n ? -amount : amount;
  const leadingZeros = nanoDigits - String(absolute).length;
  const digits = absolute >= nanoUsdPerUsd ? 2 : Math.min(nanoDigits, leadingZeros + significantDigits);
  const unit = 10n ** BigInt(nanoDigits - digits);
  const rounded = ((absolute + unit / 2n) / unit) * unit;
  const [whole = '', fraction = ''] = decimalUsd(rounded).split('.');
  return `${amount < 0n ? '-' : ''}$${groupThousands(whole)}.${fraction.replace(/0+$/, '').padEnd(2, '0')}`;
}

/** `1,234,567` */
export function formatCount(count: number | bigint): string {
  return groupThousands(String(count));
}

/** `1 call`, `1,234 calls`: for nouns that take an s. */
export function formatCounted(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 03 min`, `3 d 04 h` */
export function formatDuration(durationMs: number): string {
  const wholeMs = Math.round(durationMs);
  if (wholeMs < 1000) return `${wholeMs} ms`;
  const tenths = Math.round(durationMs / 100);
  if (tenths < 600) return `${(tenths / 10).toFixed(1)} s`;
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${twoDigits(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ${twoDigits(minutes % 60)} min`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)} d ${twoDigits(hours % 24)} h`;
}

/** What a cost is worth saying: `unknown`, `≥ $1.20` where part of it is unknown, or the sum. */
export function formatCost(totals: Pick<Totals, 'costNanoUsd' | 'costUnknown'>): string {
  if (totals.costNanoUsd === null) return 'unknown';
  return `${totals.costUnknown > 0 ? '≥ ' : ''}${formatUsd(totals.costNanoUsd)}`;
}

/** The sum of rows, under the rules of `Totals`. */
export function addTotals(parts: readonly Totals[]): Totals {
  const sum = (of: (part: Totals) => number) => parts.reduce((total, part) => total + of(part), 0);
  const known = parts.filter((part) => part.costNanoUsd !== null && part.costNanoUsd > 0n);
  const isNothingKnown = known.length === 0 && parts.some((part) => part.costNanoUsd === null);
  const outcomes = ledgerOutcomes.map((outcome) => [outcome, sum((part) => part.outcomes[outcome])]);
  return {
    attempts: sum((part) => part.attempts),
    completed: sum((part) => part.completed),
    failed: sum((part) => part.failed),
    outcomes: Object.fromEntries(outcomes) as Totals['outcomes'],
    inputTokens: sum((part) => part.inputTokens),
    outputTokens: sum((part) => part.outputTokens),
    cachedTokens: sum((part) => part.cachedTokens),
    reasoningTokens: sum((part) => part.reasoningTokens),
    costNanoUsd: isNothingKnown ? null : parts.reduce((total, part) => total + (part.costNanoUsd ?? 0n), 0n),
    costUnknown: sum((part) => part.costUnknown),
    possiblyBilled: sum((part) => part.possiblyBilled),
  };
}

/** RFC 4180: a header, CRLF, quotes where needed. An unknown cost is an empty field; `cost_usd` is exact. */
export function usageCsv(by: UsageGrouping, rows: readonly UsageRow[]): string {
  const columns: Record<string, (row: UsageRow) => string | number | bigint> = {
    [by]: (row) => row.label,
    attempts: (row) => row.attempts,
    completed: (row) => row.completed,
    failed: (row) => row.failed,
  };
  for (const outcome of ledgerOutcomes) {
    if (outcome !== 'completed') columns[`outcome_${outcome}`] = (row) => row.outcomes[outcome];
  }
  Object.assign(columns, {
    input_tokens: (row) => row.inputTokens,
    output_tokens: (row) => row.outputTokens,
    cached_tokens: (row) => row.cachedTokens,
    reasoning_tokens: (row) => row.reasoningTokens,
    cost_nano_usd: (row) => row.costNanoUsd ?? '',
    cost_usd: (row) => (row.costNanoUsd === null ? '' : decimalUsd(row.costNanoUsd)),
    cost_unknown: (row) => row.costUnknown,
    possibly_billed: (row) => row.possiblyBilled,
  } satisfies typeof columns);
  const lines = [Object.keys(columns), ...rows.map((row) => Object.values(columns).map((value) => value(row)))];
  return lines.map((fields) => `${fields.map((field) => csvField(String(field))).join(',')}\r\n`).join('');
}

/** One array of objects; the group is under its own name (`key`, `model`, …). */
export function usageJson(by: UsageGrouping, rows: readonly UsageRow[]): string {
  return exactJson(rows.map(({ label, ...totals }) => ({ [by]: label, ...totals })));
}

/** JSON in which a bigint is an integer with all its digits. */
export function exactJson(value: unknown): string {
  const json = JSON as typeof JSON & { rawJSON(text: string): unknown };
  const exact = (_name: string, part: unknown) => (typeof part === 'bigint' ? json.rawJSON(String(part)) : part);
  return JSON.stringify(value, exact, 2);
}

/** All nine decimals, of an amount that is not negative. */
function decimalUsd(nanoUsd: bigint): string {
  return `${nanoUsd / nanoUsdPerUsd}.${String(nanoUsd % nanoUsdPerUsd).padStart(nanoDigits, '0')}`;
}

function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function groupThousands(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, ',');
}

function twoDigits(count: number): string {
  return String(count).padStart(2, '0');
}
