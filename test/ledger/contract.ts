/** What every LedgerStore promises (src/ledger/store.ts), whatever database is under it. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LedgerStore } from '../../src/ledger/store.ts';
import { entry, failedEntry, numberedEntries, unknownEntry } from './entries.ts';

/** `open` gives an empty store. */
export function describeLedgerStore(name: string, open: () => Promise<LedgerStore>): void {
  describe(`the ledger in ${name}`, () => {
    let store: LedgerStore;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(async () => store.close());

    const total = async () => (await store.usage({ by: null }))[0];

    test('an entry that is inserted twice counts once', async () => {
      await store.insert([entry(), entry()]);
      await store.insert([entry()]);
      expect(await total()).toMatchObject({ attempts: 1, inputTokens: 100, costNanoUsd: 4_213_000n });
    });

    test('an unknown row gives way to the answer that turns up late', async () => {
      await store.insert([unknownEntry()]);
      expect(await total()).toMatchObject({ attempts: 1, completed: 0, possiblyBilled: 1, costNanoUsd: null });
      await store.insert([entry()]);
      expect(await total()).toMatchObject({ attempts: 1, completed: 1, possiblyBilled: 0, costNanoUsd: 4_213_000n });
    });

    test('a known outcome never gives way', async () => {
      await store.insert([entry()]);
      await store.insert([unknownEntry()]);
      await store.insert([failedEntry()]);
      expect(await total()).toMatchObject({ attempts: 1, completed: 1, outputTokens: 20 });
    });

    test('an insert that fails leaves nothing behind', async () => {
      const bad = entry({ attemptId: 'b1-2#1', batchId: null as unknown as string });
      await expect(store.insert([entry(), bad])).rejects.toThrow(/batch_id/);
      expect(await total()).toMatchObject({ attempts: 0 });
      await store.insert([entry()]);
      expect(await total()).toMatchObject({ attempts: 1 });
    });

    test('an empty ledger adds up to zero', async () => {
      await store.insert([]);
      expect(await store.usage({ by: 'key' })).toEqual([]);
      expect(await total()).toMatchObject({ label: 'total', attempts: 0, failed: 0, costNanoUsd: 0n, costUnknown: 0 });
    });

    test('a sum beyond 2^53 and beyond 2^63 is exact', async () => {
      const largest = Number.MAX_SAFE_INTEGER;
      await store.insert(numberedEntries(2, { costNanoUsd: largest }));
      expect(await total()).toMatchObject({ costNanoUsd: BigInt(largest) * 2n });
      await store.insert(numberedEntries(1500, { costNanoUsd: largest }));
      expect(await total()).toMatchObject({ attempts: 1500, costNanoUsd: BigInt(largest) * 1500n });
      expect(await store.batchSummary('b1')).toMatchObject({ costNanoUsd: BigInt(largest) * 1500n });
    });

    test('tokens that no longer add up exactly are refused, not rounded', async () => {
      await store.insert(numberedEntries(2, { inputTokens: Number.MAX_SAFE_INTEGER }));
      await expect(total()).rejects.toMatchObject({
        code: 'provider',
        message: expect.stringContaining('18014398509481982'),
      });
    });

    test('an unknown cost is counted, not added as 0', async () => {
      const unpriced = { costNanoUsd: null, costSource: 'none' } as const;
      await store.insert([entry({ attemptId: 'a', ...unpriced }), entry({ attemptId: 'b', ...unpriced })]);
      expect(await total()).toMatchObject({ costNanoUsd: null, costUnknown: 2 });
      await store.insert([entry({ attemptId: 'c', costNanoUsd: 5 })]);
      expect(await total()).toMatchObject({ costNanoUsd: 5n, costUnknown: 2 });
    });

    test('attempts that failed cost nothing and are told apart by outcome', async () => {
      await store.insert([
        failedEntry({ attemptId: 'a' }),
        failedEntry({ attemptId: 'b', outcome: 'rate_limited', httpStatus: 429, errorCode: 'rpm_exceeded' }),
        failedEntry({ attemptId: 'c', outcome: 'rate_limited', httpStatus: 429, errorCode: 'rpm_exceeded' }),
      ]);
      const row = await total();
      expect(row).toMatchObject({ attempts: 3, completed: 0, failed: 3, costNanoUsd: 0n, costUnknown: 0 });
      expect(row?.outcomes).toMatchObject({ failed: 1, rate_limited: 2, completed: 0, unknown: 0 });
    });

    test('usage groups by key, model, day and batch, sorted', async () => {
      const day = (date: number) => Date.UTC(2026, 2, date, 12);
      await store.insert([
        entry({ attemptId: 'a', keyName: 'z', keyId: 'z1', batchId: 'b2', startedAtMs: day(3) }),
        entry({ attemptId: 'b', keyName: 'y', keyId: 'y1', batchId: 'b1', startedAtMs: day(1), resolvedModel: 'qwen' }),
        entry({ attemptId: 'c', keyName: 'y', keyId: 'y1', batchId: 'b2', startedAtMs: day(1) }),
      ]);
      const labels = async (by: 'key' | 'model' | 'day' | 'batch') =>
        (await store.usage({ by })).map((row) => [row.label, row.attempts]);
      expect(await labels('key')).toEqual([
        ['y', 2],
        ['z', 1],
      ]);
      expect(await labels('model')).toEqual([
        ['deepseek-v4-pro', 2],
        ['qwen', 1],
      ]);
      expect(await labels('day')).toEqual([
        ['2026-03-01', 2],
        ['2026-03-03', 1],
      ]);
      expect(await labels('batch')).toEqual([
        ['b1', 1],
        ['b2', 2],
      ]);
    });

    test('two keys that bore one name stay apart', async () => {
      await store.insert([entry({ attemptId: 'a', keyId: 'k1' }), entry({ attemptId: 'b', keyId: 'k2' })]);
      expect((await store.usage({ by: 'key' })).map((row) => row.label)).toEqual(['team-a (k1)', 'team-a (k2)']);
    });

    test('usage keeps to its batch and to its days, both ends included', async () => {
      await store.insert([
        entry({ attemptId: 'a', startedAtMs: Date.UTC(2026, 1, 28, 23, 59, 59, 999) }),
        entry({ attemptId: 'b', startedAtMs: Date.UTC(2026, 2, 1) }),
        entry({ attemptId: 'c', startedAtMs: Date.UTC(2026, 2, 2, 23, 59, 59, 999) }),
        entry({ attemptId: 'd', startedAtMs: Date.UTC(2026, 2, 3) }),
        entry({ attemptId: 'e', startedAtMs: Date.UTC(2026, 2, 1), batchId: 'b2' }),
      ]);
      const attempts = async (query: { from?: string; to?: string; batchId?: string }) =>
        (await store.usage({ by: null, ...query }))[0]?.attempts;
      expect(await attempts({ from: '2026-03-01', to: '2026-03-02' })).toBe(3);
      expect(await attempts({ from: '2026-03-01', to: '2026-03-02', batchId: 'b1' })).toBe(2);
      expect(await attempts({ to: '2026-02-28' })).toBe(1);
      expect(await attempts({ from: '2026-03-03' })).toBe(1);
    });

    test('a batch is summed up by outcome, error code, model and key', async () => {
      await store.insert([
        entry({ attemptId: 'a' }),
        entry({ attemptId: 'b', keyName: 'team-b', keyId: 'bb', resolvedModel: 'qwen', costNanoUsd: 7 }),
        failedEntry({ attemptId: 'c' }),
        failedEntry({ attemptId: 'd', outcome: 'exhausted', httpStatus: 402, errorCode: '__proto__' }),
        unknownEntry({ attemptId: 'e', keyName: 'team-b', keyId: 'bb' }),
        entry({ attemptId: 'f', batchId: 'b2' }),
      ]);
      const summary = await store.batchSummary('b1');
      expect(summary).toMatchObject({
        batchId: 'b1',
        attempts: 5,
        completed: 2,
        failed: 3,
        possiblyBilled: 1,
        inputTokens: 200,
        outputTokens: 40,
        cachedTokens: 20,
        reasoningTokens: 10,
        costNanoUsd: 4_213_007n,
        costUnknown: 0,
        outcomes: { completed: 2, failed: 1, exhausted: 1, unknown: 1, rejected: 0 },
        models: [
          { requested: 'fast', resolved: 'deepseek-v4-pro', completed: 1 },
          { requested: 'fast', resolved: 'qwen', completed: 1 },
        ],
        keys: [
          { name: 'team-a', keyId: '0123456789ab', provider: 'privatemind', attempts: 3, costNanoUsd: 4_213_000n },
          { name: 'team-b', keyId: 'bb', provider: 'privatemind', attempts: 2, inputTokens: 100, costNanoUsd: 7n },
        ],
      });
      expect(Object.entries(summary.errorCodes)).toEqual([
        ['__proto__', 1],
        ['overloaded', 1],
      ]);
    });

    test('a batch without attempts is summed up as zeros', async () => {
      const summary = await store.batchSummary('nothing');
      expect(summary).toMatchObject({ attempts: 0, costNanoUsd: 0n, models: [], keys: [], errorCodes: {} });
    });
  });
}
