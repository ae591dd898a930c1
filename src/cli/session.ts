/** What most commands open first: configuration, log, Redis (checked), names. Closed in one place. */
import type { Command } from 'commander';
import { loadConfig, type Config } from '../config.ts';
import type { Log } from '../log.ts';
import { checkServer } from '../redis/checks.ts';
import { openRedis, type RedisHandle } from '../redis/connect.ts';
import { createNames, type Names } from '../redis/names.ts';
import type { Globals } from './main.ts';
import { createNotices } from './notices.ts';

export type Session = AsyncDisposable & { config: Config; log: Log; redis: RedisHandle; names: Names };

export function configOf(globals: Globals, needs: { secrets: boolean }): Config {
  return loadConfig({ file: globals.config, redis: globals.redis, data: globals.data, secrets: needs.secrets });
}

export async function openSession(globals: Globals, config: Config): Promise<Session> {
  const log = createNotices(globals.logLevel);
  const redis = await openRedis({ url: config.redisUrl, dataDir: config.dataDir, log });
  try {
    await checkServer(redis.client, log);
  } catch (error) {
    await redis.close();
    throw error;
  }
  return {
    config,
    log,
    redis,
    names: createNames(config.namespace),
    [Symbol.asyncDispose]: () => redis.close(),
  };
}

export function globalsOf(command: Command): Globals {
  return command.optsWithGlobals<Globals>();
}
