/** What a worker says while its Redis goes away and comes back: words, or JSON lines where --log-level asks for them. */
import path from 'node:path';
import { expect, test } from 'vitest';
import { startProcess } from '../support/process.ts';
import { startServer } from '../redis/servers.ts';

const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');

test(
  'a worker tells of a lost Redis and of its return in words, and in JSON lines alone with --log-level',
  {
    timeout: 60_000,
  },
  async () => {
    const redis = await startServer();
    const args = ['worker', '--redis', `redis://127.0.0.1:${redis.port}`, '--concurrency', '1'];
    const env = {
      PMIND_KEY: `PMIND${'A'.repeat(27)}:${'0'.repeat(64)}`,
      PMIND_KEYS: '',
      CM_API_KEY: '',
      CM_API_KEYS: '',
      OPENAI_API_KEY: '',
      OPENAI_API_KEYS: '',
      PMIND_BASE_URL: 'http://127.0.0.1:9',
    };
    const start = (...more: string[]) => startProcess([command, ...args, ...more], { cwd: redis.dir, env });
    const plain = start();
    const logging = start('--log-level', 'info');
    const both = [plain, logging];
    for (const worker of both) await worker.waitForOutput(/Worker .*: 1 key, 1 call at once\./);
    await redis.kill();
    for (const worker of both) await worker.waitForOutput(/Redis connection lost; reconnecting/);
    await redis.start();
    for (const worker of both) await worker.waitForOutput(/Redis connection is back/);
    for (const worker of both) worker.child.kill('SIGTERM');
    expect(await Promise.all(both.map(({ ended }) => ended))).toEqual([0, 0]);

    expect(plain.stderr()).toMatch(/^nightshift: Redis connection lost; reconnecting: \S/m);
    expect(plain.stderr()).toMatch(/^nightshift: Redis connection is back$/m);
    expect(plain.stderr()).not.toContain('{');

    const lines = logging.stderr().trim().split('\n');
    const entries = lines.map((line) => JSON.parse(line) as { level: number; msg: string; cause?: string });
    const lost = entries.find(({ msg }) => msg.includes('lost'));
    const back = entries.find(({ msg }) => msg.includes('is back'));
    expect(lost?.cause).toMatch(/\S/);
    expect(back?.level).toBe(lost?.level);
    expect(entries.map(({ msg }) => msg).join('\n')).toContain('Stopping: ');
  },
);
