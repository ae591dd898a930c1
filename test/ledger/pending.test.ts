/** Several ledgers on one Redis: a report takes what is its own. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { drainPending } from '../../src/ledger/pending.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import { createLog } from '../../src/log.ts';
import { testRedis } from '../support/redis.ts';
import { entry } from './entries.ts';

const { client: redis, names } = testRedis();
const directory = mkdtempSync(path.join(tmpdir(), 'nightshift-pending-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function attemptsIn(file: string): Promise<number | undefined> {
  const store = openSqliteLedger(file);
  try {
    return (await store.usage({ by: null }))[0]?.attempts;
  } finally {
    await store.close();
  }
}

test('the rows of a batch go into the ledger that it was begun with, and stay in Redis until that one asks', async () => {
  const files = ['a', 'b'].map((name) => path.join(directory, `${name}.db`)) as [string, string];
  for (const [index, file] of files.entries()) {
    const store = openSqliteLedger(file);
    const batchId = `batch${index}`;
    await redis.sadd(names.batches, batchId);
    await redis.hset(names.batch(batchId), { ledgerId: store.id });
    await redis.xadd(names.ledger(batchId), '*', 'e', JSON.stringify(entry({ batchId, attemptId: `${batchId}-1.a` })));
    await store.close();
  }
  const ask = (file: string) => drainPending({ redis, names, log: createLog('silent'), file });
  await ask(files[1]);
  expect([await attemptsIn(files[0]), await attemptsIn(files[1])]).toEqual([0, 1]);
  expect(await redis.xlen(names.ledger('batch0'))).toBe(1);
  await ask(files[0]);
  expect([await attemptsIn(files[0]), await attemptsIn(files[1])]).toEqual([1, 1]);
});

test('a ledger keeps its identity', async () => {
  const file = path.join(directory, 'kept.db');
  const ids: string[] = [];
  for (let times = 0; times < 2; times++) {
    const store = openSqliteLedger(file);
    ids.push(store.id);
    await store.close();
  }
  expect(ids[0]).toMatch(/^[0-9a-f]{32}$/);
  expect(ids[1]).toBe(ids[0]);
});
