/** A worker's inside without its queue worker, on any Redis, for tests that call its parts by hand. */
import { randomBytes } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { createQueue } from '../../jobs/completion.ts';
import { loadConfig } from '../../src/config.ts';
import { createKeyring } from '../../src/keys/keyring.ts';
import { registerKeys } from '../../src/keys/standing.ts';
import { createLog } from '../../src/log.ts';
import { createClient } from '../../src/provider/client.ts';
import { openRedis } from '../../src/redis/connect.ts';
import { createNames, type Names } from '../../src/redis/names.ts';
import { createContext, type WorkerContext } from '../../workers/context.ts';
import { createRoster, type Roster } from '../../workers/roster.ts';

export type SmallWorker = { ctx: WorkerContext; roster: Roster };

/** In no file system and in no provider's book. */
export const secret = `PMIND${'B'.repeat(27)}:${'0123456789abcdef'.repeat(4)}`;

/** As many as are wanted, on one Redis and in one namespace. */
export async function startSmallWorkers(
  url: string,
  count = 1,
  env: Record<string, string> = { PMIND_KEY: secret },
): Promise<{ names: Names; workers: SmallWorker[] }> {
  const config = {
    ...loadConfig({ cwd: '/', env }),
    namespace: `test-${randomBytes(6).toString('hex')}`,
  };
  const names = createNames(config.namespace);
  const workers: SmallWorker[] = [];
  for (let each = 0; each < count; each += 1) {
    const log = createLog('silent');
    const handle = await openRedis({ url, dataDir: '/nowhere', log });
    const client = createClient({ connections: 1, attemptTimeoutMs: 1000, idleTimeoutMs: 1000 });
    const never = new AbortController().signal;
    const keyring = createKeyring(config);
    const signals = { stopping: never, givingUp: never };
    const ctx = createContext({ config, redis: handle.client, names, log, keyring, client, ...signals });
    const queue = createQueue(handle.connectionOptions, names);
    await registerKeys(handle.client, names, keyring.keys);
    workers.push({ ctx, roster: createRoster(ctx, queue) });
    onTestFinished(async () => {
      await queue.close();
      await client.close();
      await handle.close();
    });
  }
  return { names, workers };
}
