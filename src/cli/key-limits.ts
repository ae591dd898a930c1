/** The limits of the keys for an estimate: as configured, and where that says "auto" what was learnt of them. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { KeyLimits } from '../batch/sending-time.ts';
import type { Config } from '../config.ts';
import { AppError } from '../errors.ts';
import type { Key } from '../keys/keyring.ts';
import { readLearntRpm } from '../keys/learnt-limit.ts';
import { openRedis } from '../redis/connect.ts';
import { createNames } from '../redis/names.ts';
import type { Globals } from './main.ts';
import { createNotices } from './notices.ts';
import type { KeyOffer } from './offers.ts';

/** An estimate is worth no longer wait. */
const giveUpAfterMs = 3000;

/** Opens Redis only where a limit has to be looked up and there may be one. Errors: none; they are remarks. */
export async function readKeyLimits(
  globals: Globals,
  config: Config,
  offers: readonly KeyOffer[],
): Promise<{ byKeyId: Map<string, KeyLimits>; remarks: string[] }> {
  const keys = offers.map(({ key }) => key);
  const auto = keys.filter(({ rpm }) => rpm === 'auto');
  const remarks: string[] = [];
  let learnt = new Map<string, number>();
  const mayBeThere = config.redisUrl !== null || existsSync(path.join(config.dataDir, 'redis'));
  if (auto.length > 0 && mayBeThere) {
    try {
      learnt = await readLearnt(globals, config, auto);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      remarks.push(`what was learnt of the keys' limits could not be looked up: ${error.message}`);
    }
  }
  const byKeyId = new Map(keys.map((key) => [key.keyId, limitsOf(key, learnt.get(key.keyId))]));
  const unknown = keys.filter(({ keyId, tpm }) => byKeyId.get(keyId)?.requests === 'unknown' || tpm === 'auto');
  if (unknown.length > 0) {
    const names = unknown.map(({ name }) => name).join(', ');
    remarks.push(`limits not known yet: ${names}; "rpm" and "tpm" in the configuration name them`);
  }
  return { byKeyId, remarks };
}

async function readLearnt(globals: Globals, config: Config, keys: readonly Key[]): Promise<Map<string, number>> {
  const log = createNotices(globals.logLevel ?? 'error');
  await using redis = await openRedis({ url: config.redisUrl, dataDir: config.dataDir, log, giveUpAfterMs });
  const names = createNames(config.namespace);
  const learnt = new Map<string, number>();
  for (const { keyId } of keys) {
    const rpm = await readLearntRpm(redis.client, names, keyId);
    if (rpm !== null) learnt.set(keyId, rpm);
  }
  return learnt;
}

function limitsOf(key: Key, learnt: number | undefined): KeyLimits {
  return {
    bucketId: key.bucketId,
    windowMs: key.provider.windowMs,
    requests: key.rpm === 'auto' ? (learnt ?? 'unknown') : key.rpm,
    tokens: key.tpm === 'auto' ? 'unknown' : key.tpm,
    countsRequested: key.tpmCounts === 'requested',
  };
}
