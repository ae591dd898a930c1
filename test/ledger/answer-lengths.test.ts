import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readShortAnswers } from '../../src/ledger/answer-lengths.ts';
import type { LedgerEntry } from '../../src/ledger/entry.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import { entry } from './entries.ts';

test('the length that a quarter of the answers stay under is known per model, once there are enough', async () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-lengths-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = path.join(dir, 'ledger.db');
  expect(readShortAnswers(file)).toEqual(new Map());

  const answers = (resolvedModel: string, count: number, more: Partial<LedgerEntry> = {}) =>
    Array.from({ length: count }, (_, index) =>
      entry({
        attemptId: `${resolvedModel}-${more.outcome ?? ''}-${index}`,
        resolvedModel,
        outputTokens: ((index * 7) % count) + 1,
        ...more,
      }),
    );
  const store = openSqliteLedger(file);
  await store.insert([
    ...answers('often', 40),
    ...answers('often', 40, { outcome: 'failed', outputTokens: 1 }),
    ...answers('often', 40, { outcome: 'unknown', outputTokens: null }),
    ...answers('seldom', 19),
  ]);
  await store.close();
  expect(readShortAnswers(file)).toEqual(new Map([['often', 10]]));
});
