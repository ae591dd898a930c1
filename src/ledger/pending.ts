/** Moves what still waits in Redis into the ledger file, so that a report is up to date. */
import type { Redis } from 'ioredis';
import type { Log } from '../log.ts';
import type { Names } from '../redis/names.ts';
import { createLedgerDrain } from './drain.ts';
import { openSqliteLedger } from './sqlite.ts';

export async function drainPending(options: { redis: Redis; names: Names; log: Log; file: string }): Promise<void> {
  const { redis, names, log, file } = options;
  if ((await redis.xlen(names.ledger)) === 0) return;
  const store = openSqliteLedger(file);
  try {
    await createLedgerDrain({ redis, names, store, log }).flush();
  } finally {
    await store.close();
  }
}
