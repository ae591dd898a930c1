/** What most commands open first: configuration, log, Redis (checked), names. Closed in one place. */
import { loadConfig, type Config } from '../config.ts';
import type { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { checkServer } from '../redis/checks.ts';
import { openRedis, type RedisHandle } from '../redis/connect.ts';
import { createNames, type Names } from '../redis/names.ts';
import { failNow } from './failure.ts';
import type { Globals } from './main.ts';
import { createNotices } from './notices.ts';

export type Session = AsyncDisposable & {
  config: Config;
  log: Log;
  redis: RedisHandle;
  names: Names;
  /** Called before the process ends because its Redis is lost for good. */
  lastWords: ((error: AppError) => void) | null;
};

export function configOf(globals: Globals, needs: { secrets: boolean }): Config {
  return loadConfig({ file: globals.config, redis: globals.redis, data: globals.data, secrets: needs.secrets });
}

/** For who wants to wait longer, or not so long. */
const patienceVariable = 'NIGHTSHIFT_REDIS_PATIENCE_MS';

/** `waitsForRedis`: through an outage of any length, as a service does. Others end with it: they could keep nothing. */
export async function openSession(
  globals: Globals,
  config: Config,
  { waitsForRedis = false }: { waitsForRedis?: boolean } = {},
): Promise<Session> {
  const log = createNotices(globals.logLevel);
  const patienceMs = Number(process.env[patienceVariable]) || undefined;
  const redis = await openRedis({
    url: config.redisUrl,
    dataDir: config.dataDir,
    log,
    patienceMs: waitsForRedis ? null : patienceMs,
    giveUpAfterMs: patienceMs,
  });
  const session: Session = {
    config,
    log,
    redis,
    names: createNames(config.namespace),
    lastWords: null,
    [Symbol.asyncDispose]: () => redis.close(),
  };
  // At once, not in good order: nothing of what is under way can be written down. The next run finds it as after a crash.
  if (!waitsForRedis) {
    void redis.gone.then((error) => {
      session.lastWords?.(error);
      failNow(error);
    });
  }
  try {
    await checkServer(redis.client, log);
  } catch (error) {
    await redis.close();
    throw error;
  }
  return session;
}
