import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { startRedisServer } from '../support/redis-server.ts';
import { freePort } from '../support/wait.ts';
import { createBench, expectFailure, line, type Call } from './command.ts';

const bench = createBench({ redisUrl: null });
bench.file('good.jsonl', line('a'));
const args = ['run', 'good.jsonl', '--simulate', '--out', 'out'];
/** Not the ten seconds that a starting server gets. */
const NIGHTSHIFT_REDIS_PATIENCE_MS = '1000';
const at = (REDIS_URL: string): Call => ({ env: { REDIS_URL, NIGHTSHIFT_REDIS_PATIENCE_MS } });

test('a Redis that is not there is named, with where to correct it', async () => {
  const url = `redis://:hunter2@127.0.0.1:${await freePort()}`;
  const ended = await bench.nightshift(args, at(url));
  expectFailure(ended, 5, `Redis at ${url.replace('hunter2', '***')}: nothing listens there; start it`);
});

test('a Redis URL that is none is an error of the configuration', async () => {
  expectFailure(
    await bench.nightshift(args, at('http://127.0.0.1')),
    2,
    'unknown scheme in the Redis URL',
    'REDIS_URL',
  );
  expectFailure(
    await bench.nightshift([...args, '--redis', 'host:6379']),
    2,
    '"host:6379"',
    '--redis',
    'expected redis://',
  );
});

test('a Redis that evicts is refused, with the line that mends it', async () => {
  await using server = await startRedisServer(['--maxmemory-policy', 'allkeys-lru']);
  const ended = await bench.nightshift(args, at(server.url));
  expectFailure(ended, 5, 'maxmemory-policy is allkeys-lru', 'redis-cli CONFIG SET maxmemory-policy noeviction');
});

test('a Redis that wants a password is named, with how to write it', async () => {
  await using server = await startRedisServer(['--requirepass', 'hunter2']);
  const without = await bench.nightshift(args, at(server.url));
  expectFailure(without, 5, `Redis at ${server.url}: it wants a password`, 'redis://:password@host');
  const wrong = await bench.nightshift(args, at(server.url.replace('//', '//:letmein@')));
  expectFailure(wrong, 5, 'it refuses the user or the password', '//:***@');
  expect(wrong.stderr).not.toContain('letmein');
});

test('a Redis that is too old is refused', async () => {
  await using old = await startOldRedis();
  const ended = await bench.nightshift(args, at(old.url));
  expectFailure(ended, 5, 'expected Redis 6.2 or newer (or Valkey), this one is 5.0.14; update it');
});

test('a machine without a Redis is told the one line that installs it', async () => {
  const ended = await bench.nightshift(args, { env: { PATH: '/nonexistent' } });
  expectFailure(ended, 5, /no redis-server or valkey-server on the PATH.*Install one with: .*redis/);
});

// A disk of its own can be made full without harm to anybody.
const disk = mkdtempSync(path.join(os.tmpdir(), 'nightshift-disk-'));
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', disk]).status === 0;
afterAll(() => {
  if (isMounted) spawnSync('umount', ['-l', disk]);
  rmSync(disk, { recursive: true, force: true });
});

test.skipIf(!isMounted)(
  'a Redis whose disk is full stops the run; with room again the same command finishes',
  async () => {
    const ids = Array.from({ length: 300 }, (_, index) => `line-${index}`);
    bench.file('many.jsonl', ids.map((id) => line(id)).join(''));
    const ballast = path.join(disk, 'ballast');
    spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=1k', 'count=2700']);
    const run = ['run', 'many.jsonl', '--simulate', '--data', disk, '--out', 'many', '--json'];
    const full = await bench.nightshift(run);
    // The ledger is on that disk, too, and may say so first; it does not stop the run.
    const messages = full.stderr.split(/^(?=nightshift: )/m).filter((text) => !/ledger cannot be drained/.test(text));
    expect(JSON.parse(full.stdout)).toMatchObject({ name: 'many', stoppedBy: { code: 'disk' } });
    expectFailure(
      { ...full, stdout: '', stderr: messages.join('') },
      5,
      /disk is (probably )?full/,
      /free some space|make room/,
      disk,
    );
    rmSync(ballast);
    const again = await bench.nightshift(run);
    expect(again.code, again.stderr).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({
      status: 'completed',
      counts: { total: 300, completed: 300, failed: 0 },
    });
  },
);

/** Answers as Redis 5 does to what a client asks at first. */
async function startOldRedis(): Promise<{ url: string } & AsyncDisposable> {
  const info = 'redis_version:5.0.14\r\nrole:master\r\nloading:0\r\naof_enabled:1\r\n';
  const server: Server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      for (const name of String(bytes)
        .toLowerCase()
        .match(/^(hello|client|info|config|select|ping|quit|command)\r?$/gm) ?? []) {
        const word = name.trim();
        if (word === 'info') socket.write(`$${info.length}\r\n${info}\r\n`);
        else if (word === 'config') socket.write('*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n');
        else if (word === 'hello') socket.write('-ERR unknown command `HELLO`\r\n');
        else socket.write(word === 'ping' ? '+PONG\r\n' : '+OK\r\n');
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  return {
    url: `redis://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}
