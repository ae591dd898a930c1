/** A whole worker in the test's own process, with a simulator that it sends to and the queue that it takes from. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { createQueue } from '../../jobs/completion.ts';
import { loadConfig } from '../../src/config.ts';
import { createKeyring, type Key } from '../../src/keys/keyring.ts';
import { createLog } from '../../src/log.ts';
import { openRedis } from '../../src/redis/connect.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { startWorkerProcess } from '../../workers/process.ts';
import type { TestRedis } from '../support/redis.ts';

/** Inside a test: all of it is gone at its end. */
export async function startWholeWorker(redis: TestRedis, latencyMs: { min: number; max: number }) {
  const dir = mkdtempSync(path.join(tmpdir(), 'nightshift-worker-'));
  const simulator = await createSimulator({ scenario: { keys: [{ name: 'a', rpm: null }], latencyMs } });
  const log = createLog('silent');
  const handle = await openRedis({ url: redis.url, dataDir: dir, log });
  const env = { PMIND_KEY: simulator.keys[0]?.token ?? '', PMIND_BASE_URL: simulator.baseUrl };
  const config = { ...loadConfig({ cwd: dir, env }), namespace: redis.namespace };
  const keyring = createKeyring(config);
  const queue = createQueue(handle.connectionOptions, redis.names);
  const worker = await startWorkerProcess({ config, keyring, redis: handle, log, concurrency: 5 });
  onTestFinished(async () => {
    await worker.stop(1000);
    await queue.close();
    await handle.close();
    await simulator.close();
    rmSync(dir, { recursive: true, force: true });
  });
  return { dir, worker, queue, simulator, key: keyring.keys[0] as Key };
}
