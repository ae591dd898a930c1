import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { renderTable } from '../../src/cli/table.ts';
import { registerUsage, type UsageHooks } from '../../src/cli/usage.ts';
import type { LedgerEntry } from '../../src/ledger/entry.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import { entry, failedEntry, unknownEntry } from './entries.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'nightshift-usage-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function usage(args: string[] = [], hooks?: UsageHooks): Promise<{ out: string; err: string }> {
  const printed = { out: '', err: '' };
  const program = new Command('nightshift')
    .option('--config <file>')
    .option('--redis <url>')
    .option('--data <dir>')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void (printed.out += text),
      writeErr: (text) => void (printed.err += text),
    });
  registerUsage(program, hooks);
  await program.parseAsync(['--data', directory, 'usage', ...args], { from: 'user' });
  return printed;
}

async function record(...entries: LedgerEntry[]): Promise<void> {
  const store = openSqliteLedger(path.join(directory, 'ledger.db'));
  await store.insert(entries);
  await store.close();
}

describe('nightshift usage', () => {
  test('shows one row per key, the total, and what is not known of the cost', async () => {
    await record(
      entry({ attemptId: 'a', inputTokens: 1_234_567 }),
      entry({ attemptId: 'b', keyName: 'team-b', costNanoUsd: null, costSource: 'none' }),
      failedEntry({ attemptId: 'c' }),
      unknownEntry({ attemptId: 'd', keyName: 'team-b' }),
    );
    expect(await usage()).toEqual({
      err: '',
      out: [
        'Key     Attempts  Completed  Failed  Input tokens  of them cached  Output tokens  of them reasoning         Cost',
        '──────  ────────  ─────────  ──────  ────────────  ──────────────  ─────────────  ─────────────────  ───────────',
        'team-a         2          1       1     1,234,567              10             20                  5    $0.004213',
        'team-b         2          1       1           100              10             20                  5      unknown',
        '──────  ────────  ─────────  ──────  ────────────  ──────────────  ─────────────  ─────────────────  ───────────',
        'Total          4          2       2     1,234,667              20             40                 10  ≥ $0.004213',
        'Possibly billed: 1 attempt of which no whole answer came; not part of the cost.',
        'Cost unknown: 1 completed attempt; the provider gave no price, "prices" in the configuration can.',
        '',
      ].join('\n'),
    });
  });

  test('leaves out the remarks and columns that would say nothing', async () => {
    await record(entry({ cachedTokens: null, reasoningTokens: 0 }));
    const { out } = await usage(['--by', 'model']);
    expect(out).toBe(
      [
        'Model            Attempts  Completed  Failed  Input tokens  Output tokens       Cost',
        '───────────────  ────────  ─────────  ──────  ────────────  ─────────────  ─────────',
        'deepseek-v4-pro         1          1       0           100             20  $0.004213',
        '───────────────  ────────  ─────────  ──────  ────────────  ─────────────  ─────────',
        'Total                   1          1       0           100             20  $0.004213',
        '',
      ].join('\n'),
    );
  });

  test('keeps to the batch and the days it is asked for', async () => {
    const day = (date: number) => Date.UTC(2026, 2, date, 23);
    await record(
      entry({ attemptId: 'a', startedAtMs: day(1) }),
      entry({ attemptId: 'b', startedAtMs: day(2) }),
      entry({ attemptId: 'c', startedAtMs: day(3) }),
      entry({ attemptId: 'd', startedAtMs: day(2), batchId: 'b2' }),
    );
    const days = async (...args: string[]) => {
      const rows = JSON.parse((await usage(['--by', 'day', '--json', ...args])).out) as Record<string, unknown>[];
      return rows.map((row) => [row['day'], row['attempts']]);
    };
    expect(await days('--from', '2026-03-02', '--to', '2026-03-02')).toEqual([['2026-03-02', 2]]);
    expect(await days('--batch', 'b1', '--from', '2026-03-02')).toEqual([
      ['2026-03-02', 1],
      ['2026-03-03', 1],
    ]);
  });

  test('prints CSV', async () => {
    await record(entry());
    const { out } = await usage(['--by', 'batch', '--csv']);
    expect(out).toMatch(/^batch,attempts,.*\r\nb1,1,1,0,.*,4213000,0\.004213000,0,0\r\n$/);
  });

  test('without a ledger it says so and makes none', async () => {
    expect(await usage()).toEqual({ out: '', err: expect.stringMatching(/^No ledger yet: .*ledger\.db/) });
    expect((await usage(['--json'])).out).toBe('[]\n');
    expect((await usage(['--csv'])).out).toMatch(/^key,attempts,.*\r\n$/);
    expect(existsSync(path.join(directory, 'ledger.db'))).toBe(false);
  });

  test('says so when nothing matches', async () => {
    await record(entry());
    expect(await usage(['--from', '2100-01-01'])).toEqual({
      out: '',
      err: expect.stringMatching(/^No attempts match/),
    });
  });

  test('takes the name of a batch that Redis knows, and the id of one that only the ledger has', async () => {
    await record(entry(), entry({ attemptId: 'b', batchId: 'b2' }));
    const drainPending = async (_: unknown, nameOrId?: string) =>
      nameOrId === 'tonight' ? { batchId: 'b2' } : { unknown: `no batch "${nameOrId}"; the latest: tonight` };
    const labels = async (batch: string) =>
      (
        JSON.parse((await usage(['--by', 'batch', '--json', '--batch', batch], { drainPending })).out) as {
          batch: string;
        }[]
      ).map(({ batch: label }) => label);
    expect(await labels('tonight')).toEqual(['b2']);
    expect(await labels('b1')).toEqual(['b1']);
    await expect(labels('other')).rejects.toMatchObject({
      code: 'usage',
      message: 'no batch "other"; the latest: tonight',
    });
  });

  test('says of a name that Redis has forgotten how the batches of the ledger are found', async () => {
    await record(entry(), entry({ attemptId: 'b', batchId: 'b2' }));
    const forget = (known: string[]) => ({
      drainPending: async () => ({ unknown: 'no batch "tonight", nor any other', known }),
    });
    await expect(usage(['--batch', 'tonight'], forget(['b2']))).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/^no batch "tonight", nor any other\n.*usage --by batch lists them, and --batch/),
    });
    expect((await usage(['--batch', 'b1', '--json'], forget([]))).out).toContain('"attempts": 1');
    await expect(usage(['--batch', 'tonight'], forget(['b1', 'b2']))).rejects.toMatchObject({
      message: 'no batch "tonight", nor any other',
    });
  });

  test('counts entries that were still waiting in Redis', async () => {
    const { out } = await usage(['--json'], {
      async drainPending() {
        await record(entry());
        return { unknown: '' };
      },
    });
    expect(JSON.parse(out)).toMatchObject([{ key: 'team-a', attempts: 1 }]);
  });

  test.each([
    [['--from', '1st of March'], /--from: expected a day such as .*got "1st of March"/],
    [['--to', '2026-02-30'], /--to: expected a day .*got "2026-02-30"/],
    [['--to', '2026-13-01'], /--to: expected a day/],
    [['--from', '2026-03-02', '--to', '2026-03-01'], /--from 2026-03-02 is after --to 2026-03-01/],
  ])('refuses %s', async (args, message) => {
    await expect(usage(args)).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(message) });
  });

  test('refuses an unknown group and CSV together with JSON', async () => {
    await expect(usage(['--by', 'week'])).rejects.toMatchObject({ code: 'commander.invalidArgument' });
    await expect(usage(['--csv', '--json'])).rejects.toMatchObject({ code: 'commander.conflictingOption' });
  });

  test('explains itself with examples', async () => {
    const printed = { out: '' };
    const program = new Command('nightshift')
      .exitOverride()
      .configureOutput({ writeOut: (text) => void (printed.out += text) });
    registerUsage(program);
    await expect(program.parseAsync(['usage', '--help'], { from: 'user' })).rejects.toMatchObject({ exitCode: 0 });
    expect(printed.out).toContain('$ nightshift usage --by day --from 2026-03-01');
  });
});

describe('a table', () => {
  test('keeps control characters from the terminal and aligns what is wider than its bytes', () => {
    const columns = [{ title: 'Name' }, { title: 'N', align: 'right' }] as const;
    expect(renderTable(columns, [['e\u0301t\u00e9', '1'], ['\u001b[31mred\u0007', '20'], ['short']])).toBe(
      ['Name        N', '─────────  ──', 'e\u0301t\u00e9         1', ' [31mred   20', 'short', ''].join('\n'),
    );
  });
});
