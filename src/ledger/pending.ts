/** Moves what still waits in Redis for this ledger into its file, so that a report is up to date. */
import type { Redis } from '../redis/client.ts';
import type { Log } from '../log.ts';
import type { Names } from '../redis/names.ts';
import { createLedgerDrain } from './drain.ts';
import { openSqliteLedger } from './sqlite.ts';

export async function drainPending(options: { redis: Redis; names: Names; log: Log; file: string }): Promise<void> {
  const { redis, names, log, file } = options;
  const waiting: { batchId: string; ledgerId: string | null }[] = [];
  for (const batchId of await redis.smembers(names.batches)) {
    if ((await redis.xlen(names.ledger(batchId))) === 0) continue;
    waiting.push({ batchId, ledgerId: await redis.hget(names.batch(batchId), 'ledgerId') });
  }
  if (waiting.length === 0) return;
  const store = openSqliteLedger(file);
  try {
    for (const { batchId, ledgerId } of waiting) {
      if (store.isThere && ledgerId === store.id)
        await createLedgerDrain({ redis, names, batchId, store, log }).flush();
    }
  } finally {
    await store.close();
  }
}
