/**
 * Before a report is made of the ledger: what still waits in Redis goes into it, and a batch's name is looked up, which
 * only Redis knows. A report must not fail for that: if Redis is away, it says so and tells what the file has.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { findBatch } from '../batch/find.ts';
import type { Config } from '../config.ts';
import { AppError, messageOf } from '../errors.ts';
import { drainPending } from '../ledger/pending.ts';
import { createLog } from '../log.ts';
import type { Redis } from '../redis/client.ts';
import { openRedis } from '../redis/connect.ts';
import { createNames, type Names } from '../redis/names.ts';
import { say } from './screen.ts';

/** The batch that is asked for, or why it is not known; `known`: ids of the batches that Redis knows. */
export type BatchAsked = { batchId: string } | { unknown: string; known?: string[] };

export async function drainBeforeReport(config: Config, nameOrId?: string): Promise<BatchAsked> {
  // No embedded Redis has ever run here: nothing waits, and none is started to look.
  if (config.redisUrl === null && !existsSync(path.join(config.dataDir, 'redis'))) {
    const unknown = `no batch "${nameOrId}" in ${config.dataDir}; choose where it ran with --data or --redis`;
    return { unknown, known: [] };
  }
  try {
    const log = createLog('silent');
    await using redis = await openRedis({ url: config.redisUrl, dataDir: config.dataDir, log, giveUpAfterMs: 3000 });
    const file = path.join(config.dataDir, 'ledger.db');
    const names = createNames(config.namespace);
    await drainPending({ redis: redis.client, names, log, file });
    return nameOrId === undefined ? { unknown: '' } : await ask(redis.client, names, nameOrId);
  } catch (error) {
    say(`What may still wait in Redis is not in this report: ${messageOf(error)}`);
    const unknown = `no batch of the id "${nameOrId}" in the ledger, and Redis, which knows the names, is away`;
    return { unknown, known: [] };
  }
}

async function ask(redis: Redis, names: Names, nameOrId: string): Promise<BatchAsked> {
  try {
    return await findBatch(redis, names, nameOrId);
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'usage') throw error;
    return { unknown: error.message, known: await redis.smembers(names.batches) };
  }
}
