/**
 * Budget warnings of a run: looks up what the batch, its keys and the day have spent and logs each level that is new
 * (budget-watch.ts). It only warns; acquire.lua is what keeps a budget.
 */
import type { BatchRecord } from '../src/batch/batch.ts';
import { createBudgetWatch, type Spend } from '../src/batch/budget-watch.ts';
import type { Config } from '../src/config.ts';
import { messageOf } from '../src/errors.ts';
import type { Keyring } from '../src/keys/keyring.ts';
import { readStanding } from '../src/keys/standing.ts';
import type { Log } from '../src/log.ts';
import type { RedisHandle } from '../src/redis/connect.ts';
import { createNames } from '../src/redis/names.ts';
import { redisTimeMs } from '../src/redis/time.ts';

export type BudgetWarnings = {
  /** With each progress; asks Redis for the keys and the day only now and then. */
  look: (record: BatchRecord) => Promise<void>;
  /** At the end: everything once more. */
  last: (record: BatchRecord) => Promise<void>;
};

const sharedEveryMs = 3000;
const dayMs = 86_400_000;

/** A warning that cannot be given is no reason to end a run: errors go to the log. */
export function createBudgetWarnings(options: {
  config: Config;
  keyring: Keyring;
  redis: RedisHandle;
  log: Log;
}): BudgetWarnings {
  const { config, keyring, redis, log } = options;
  const names = createNames(config.namespace);
  const watch = createBudgetWatch();
  let readAtMs = Number.NEGATIVE_INFINITY;

  async function tell(record: BatchRecord, { shared }: { shared: boolean }): Promise<void> {
    try {
      const spends = [...ofBatch(record), ...(shared ? [...(await ofKeys()), ...(await ofDay())] : [])];
      for (const { message, level, spentNanoUsd, budgetNanoUsd } of watch(spends)) {
        log.warn({ batchId: record.batchId, budgetPercent: level, spentNanoUsd, budgetNanoUsd }, message);
      }
    } catch (error) {
      log.debug({ batchId: record.batchId, error: messageOf(error) }, 'the budgets could not be looked up');
    }
  }

  async function ofKeys(): Promise<Spend[]> {
    const spends: Spend[] = [];
    for (const { keyId, name, budgetNanoUsd } of keyring.keys) {
      if (budgetNanoUsd === null) continue;
      const { spentNanoUsd } = await readStanding(redis.client, names, keyId);
      spends.push({ id: `key:${keyId}`, whose: `key ${name}`, setting: 'budgetUsd', spentNanoUsd, budgetNanoUsd });
    }
    return spends;
  }

  async function ofDay(): Promise<Spend[]> {
    const budgetNanoUsd = config.dailyBudgetNanoUsd;
    if (budgetNanoUsd === null) return [];
    // The day is the script's that books it: by Redis' clock, in UTC.
    const day = Math.floor((await redisTimeMs(redis.client)) / dayMs);
    const spentNanoUsd = Number((await redis.client.hget(names.spend, `spent:${day}`)) ?? 0);
    return [{ id: `day:${day}`, whose: 'this day', setting: 'dailyBudgetUsd', spentNanoUsd, budgetNanoUsd }];
  }

  return {
    async look(record) {
      const shared = performance.now() - readAtMs >= sharedEveryMs;
      if (shared) readAtMs = performance.now();
      await tell(record, { shared });
    },
    last: (record) => tell(record, { shared: true }),
  };
}

function ofBatch({ batchId, name, spentNanoUsd, budgetNanoUsd }: BatchRecord): Spend[] {
  if (budgetNanoUsd === null) return [];
  return [{ id: `batch:${batchId}`, whose: `batch ${name}`, setting: '--budget', spentNanoUsd, budgetNanoUsd }];
}
