import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ledgerOutcomes } from '../../src/ledger/entry.ts';
import {
  addTotals,
  formatCost,
  formatCount,
  formatCounted,
  formatDuration,
  formatUsd,
  usageCsv,
  usageJson,
} from '../../src/ledger/report.ts';
import type { Totals, UsageRow } from '../../src/ledger/store.ts';

function row(changes: Partial<UsageRow> = {}): UsageRow {
  const outcomes = Object.fromEntries(ledgerOutcomes.map((outcome) => [outcome, 0])) as Totals['outcomes'];
  return {
    label: 'team-a',
    attempts: 3,
    completed: 1,
    failed: 2,
    outcomes: { ...outcomes, completed: 1, rate_limited: 2 },
    inputTokens: 1000,
    outputTokens: 200,
    cachedTokens: 30,
    reasoningTokens: 4,
    costNanoUsd: 4_213_000n,
    costUnknown: 0,
    possiblyBilled: 0,
    ...changes,
  };
}

describe('amounts for people', () => {
  test.each([
    [0, '$0.00'],
    [1, '$0.000000001'],
    [12_345, '$0.00001235'],
    [4_213_000, '$0.004213'],
    [4_213_499, '$0.004213'],
    [50_000_000, '$0.05'],
    [123_456_789, '$0.1235'],
    [500_000_000, '$0.50'],
    [999_960_000, '$1.00'],
    [999_999_999, '$1.00'],
    [1_000_000_000, '$1.00'],
    [12_344_999_999, '$12.34'],
    [12_345_000_000, '$12.35'],
    [1_234_500_000_000, '$1,234.50'],
    [-4_213_000, '-$0.004213'],
    [2n ** 64n, '$18,446,744,073.71'],
  ])('%s nano USD are %s', (nanoUsd, text) => {
    expect(formatUsd(nanoUsd)).toBe(text);
  });

  test('an amount that is shown is within half a unit of its last digit of the real one', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 70n), (nanoUsd) => {
        const [whole = '', fraction = ''] = formatUsd(nanoUsd).replace(/[$,]/g, '').split('.');
        const shown = BigInt(whole + fraction.padEnd(9, '0'));
        const difference = shown > nanoUsd ? shown - nanoUsd : nanoUsd - shown;
        const unit = nanoUsd >= 10n ** 9n ? 10n ** 7n : nanoUsd / 1000n;
        expect(difference * 2n <= unit).toBe(true);
      }),
    );
  });

  test('a cost that is not or not wholly known says so', () => {
    expect(formatCost(row({ costNanoUsd: null, costUnknown: 2 }))).toBe('unknown');
    expect(formatCost(row({ costUnknown: 2 }))).toBe('≥ $0.004213');
    expect(formatCost(row())).toBe('$0.004213');
  });

  test('counts are grouped by thousands', () => {
    expect([0, 999, 1000, 1_234_567, 10n ** 18n].map(formatCount)).toEqual([
      '0',
      '999',
      '1,000',
      '1,234,567',
      '1,000,000,000,000,000,000',
    ]);
  });

  test('one of something has no s', () => {
    expect([0, 1, 1234].map((calls) => formatCounted(calls, 'call'))).toEqual(['0 calls', '1 call', '1,234 calls']);
  });

  test.each([
    [0, '0 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [12_345, '12.3 s'],
    [59_949, '59.9 s'],
    [59_951, '1 min 00 s'],
    [245_000, '4 min 05 s'],
    [3_599_600, '1 h 00 min'],
    [7_380_000, '2 h 03 min'],
    [86_399_000, '1 d 00 h'],
    [273_600_000, '3 d 04 h'],
  ])('%s ms are %s', (durationMs, text) => {
    expect(formatDuration(durationMs)).toBe(text);
  });
});

describe('usage rows for programs', () => {
  test('CSV quotes what needs it, ends lines with CRLF and leaves an unknown cost empty', () => {
    const csv = usageCsv('model', [row({ label: 'a "b", c\nd' }), row({ costNanoUsd: null, costUnknown: 1 })]);
    expect(csv).toBe(
      'model,attempts,completed,failed,outcome_rejected,outcome_rate_limited,outcome_exhausted,outcome_unauthorized,' +
        'outcome_model_unavailable,outcome_held,outcome_failed,outcome_unknown,' +
        'input_tokens,output_tokens,cached_tokens,reasoning_tokens,cost_nano_usd,cost_usd,cost_unknown,possibly_billed\r\n' +
        '"a ""b"", c\nd",3,1,2,0,2,0,0,0,0,0,0,1000,200,30,4,4213000,0.004213000,0,0\r\n' +
        'team-a,3,1,2,0,2,0,0,0,0,0,0,1000,200,30,4,,,1,0\r\n',
    );
  });

  test('JSON keeps every digit of a cost and null where it is unknown', () => {
    const json = usageJson('key', [row({ costNanoUsd: 2n ** 64n + 1n }), row({ costNanoUsd: null })]);
    expect(json).toContain('"costNanoUsd": 18446744073709551617');
    const costNanoUsd = expect.any(Number) as number;
    expect(JSON.parse(json)).toMatchObject([{ key: 'team-a', attempts: 3, costNanoUsd }, { costNanoUsd: null }]);
  });
});

describe('the total of rows', () => {
  test('adds what is known and keeps what is not', () => {
    expect(addTotals([row(), row({ costNanoUsd: null, costUnknown: 1, possiblyBilled: 2 })])).toMatchObject({
      attempts: 6,
      outcomes: { completed: 2, rate_limited: 4 },
      inputTokens: 2000,
      costNanoUsd: 4_213_000n,
      costUnknown: 1,
      possiblyBilled: 2,
    });
  });

  test('is unknown where a part is and the rest cost nothing', () => {
    expect(addTotals([row({ costNanoUsd: 0n }), row({ costNanoUsd: null })]).costNanoUsd).toBeNull();
    expect(addTotals([]).costNanoUsd).toBe(0n);
  });
});
