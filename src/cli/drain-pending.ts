/**
 * Before a report is made of the ledger: what still waits in Redis goes into it. A report must not fail for that: if
 * Redis is away, it says so and tells what the file has.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
import { drainPending } from '../ledger/pending.ts';
import { createLog } from '../log.ts';
import { openRedis } from '../redis/connect.ts';
import { createNames } from '../redis/names.ts';
import { say } from './screen.ts';

export async function drainBeforeReport(config: Config): Promise<void> {
  // No embedded Redis has ever run here: nothing waits, and none is started to look.
  if (config.redisUrl === null && !existsSync(path.join(config.dataDir, 'redis'))) return;
  try {
    const log = createLog('silent');
    await using redis = await openRedis({ url: config.redisUrl, dataDir: config.dataDir, log, giveUpAfterMs: 3000 });
    const file = path.join(config.dataDir, 'ledger.db');
    await drainPending({ redis: redis.client, names: createNames(config.namespace), log, file });
  } catch (error) {
    say(`What may still wait in Redis is not in this report: ${messageOf(error)}`);
  }
}
