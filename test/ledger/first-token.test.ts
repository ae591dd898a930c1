/** The time to the first token came later than the ledger: files and entries of before have none. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test } from 'vitest';
import { ledgerEntrySchema } from '../../src/ledger/entry.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import { entry } from './entries.ts';

test('a ledger of the first version is brought up to date with its rows, and keeps the time to the first token', async () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-ledger-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const file = path.join(dir, 'ledger.db');
  const first = new DatabaseSync(file);
  const migration = new URL('../../src/ledger/migrations/0001-ledger.sql', import.meta.url);
  first.exec(readFileSync(migration, 'utf8'));
  first.exec(`insert into ledger (attempt_id, batch_id, custom_id, line, provider, key_id, key_name, requested_model,
    resolved_model, outcome, started_at, cost_source) values ('old', 'b', 'c', 1, 'p', 'k', 'n', 'm', 'm', 'completed',
    '2026-01-01T00:00:00.000Z', 'none')`);
  first.exec('pragma user_version = 1');
  first.close();

  const store = openSqliteLedger(file);
  await store.insert([entry({ attemptId: 'streamed', firstTokenMs: 42 }), entry({ attemptId: 'whole' })]);
  await store.close();
  const database = new DatabaseSync(file, { readOnly: true });
  const rows = database.prepare('select attempt_id, first_token_ms from ledger order by attempt_id').all();
  database.close();
  expect(rows.map((row) => [row['attempt_id'], row['first_token_ms']])).toEqual([
    ['old', null],
    ['streamed', 42],
    ['whole', null],
  ]);
});

test('an entry that an earlier version left in the outbox has no time to the first token', () => {
  const { firstTokenMs: _, ...old } = entry();
  expect(ledgerEntrySchema.parse(old)).toEqual(entry());
});
