import path from 'node:path';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { startProcess } from '../support/process.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { waitFor } from '../support/wait.ts';

const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');

test('a worker that is told to stop while it starts stops once it has started', { timeout: 60_000 }, async () => {
  await using server = await startRedisServer();
  const redis = new Redis(server.url);
  onTestFinished(() => redis.disconnect());
  // Reads go through, so the worker gets as far as its first write and waits there.
  await redis.call('CLIENT', 'PAUSE', '60000', 'WRITE');
  const worker = startProcess([command, 'worker', '--redis', server.url], {
    cwd: server.dir,
    env: { PMIND_KEY: `PMIND${'A'.repeat(27)}:${'0'.repeat(64)}`, PMIND_BASE_URL: 'http://127.0.0.1:9' },
  });
  const isHeldUp = async () => /name=nightshift:main .*flags=b/.test(String(await redis.call('CLIENT', 'LIST')));
  await waitFor(isHeldUp, { timeoutMs: 20_000, what: 'the worker waits for its first write' });
  worker.child.kill('SIGTERM');
  await worker.waitForOutput(/Stopping/);
  await redis.call('CLIENT', 'UNPAUSE');
  expect(await worker.ended).toBe(0);
});
