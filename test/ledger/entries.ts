/** Ledger entries for tests: one completed attempt, to be varied. */
import type { LedgerEntry } from '../../src/ledger/entry.ts';

export const sentAtMs = Date.UTC(2026, 2, 14, 9, 26, 53, 589);

export function entry(changes: Partial<LedgerEntry> = {}): LedgerEntry {
  return {
    attemptId: 'b1-1#1',
    batchId: 'b1',
    customId: 'request-1',
    line: 1,
    provider: 'privatemind',
    keyId: '0123456789ab',
    keyName: 'team-a',
    requestedModel: 'fast',
    resolvedModel: 'deepseek-v4-pro',
    outcome: 'completed',
    httpStatus: 200,
    errorCode: null,
    startedAtMs: sentAtMs,
    durationMs: 1234,
    firstTokenMs: null,
    inputTokens: 100,
    outputTokens: 20,
    cachedTokens: 10,
    reasoningTokens: 5,
    costNanoUsd: 4_213_000,
    costSource: 'provider',
    requestId: 'chatcmpl-1',
    ...changes,
  };
}

/** The same attempt, its answer lost in a crash. */
export function unknownEntry(changes: Partial<LedgerEntry> = {}): LedgerEntry {
  return entry({
    outcome: 'unknown',
    httpStatus: null,
    durationMs: null,
    inputTokens: null,
    outputTokens: null,
    cachedTokens: null,
    reasoningTokens: null,
    costNanoUsd: null,
    costSource: 'none',
    requestId: null,
    ...changes,
  });
}

/** An attempt that ended with an error of the provider and cost nothing. */
export function failedEntry(changes: Partial<LedgerEntry> = {}): LedgerEntry {
  return unknownEntry({ outcome: 'failed', httpStatus: 503, errorCode: 'overloaded', durationMs: 80, ...changes });
}

export function numberedEntries(count: number, changes: Partial<LedgerEntry> = {}): LedgerEntry[] {
  return Array.from({ length: count }, (_, index) =>
    entry({ attemptId: `b1-${index + 1}#1`, customId: `request-${index + 1}`, line: index + 1, ...changes }),
  );
}
