import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createLog } from '../../src/log.ts';
import { type EmbeddedRedis, openEmbeddedRedis } from '../../src/redis/embedded.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { waitFor } from '../support/wait.ts';

const log = createLog('silent');
const userFile = path.join(import.meta.dirname, 'embedded-user.ts');

function tempDir(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), "nightshift é' x-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }));
  return dir;
}

async function open(dataDir: string): Promise<EmbeddedRedis> {
  const embedded = await openEmbeddedRedis({ dataDir, log });
  onTestFinished(() => embedded.close());
  return embedded;
}

function connectTo(embedded: EmbeddedRedis): Redis {
  const client = new Redis(embedded.socketPath, { retryStrategy: null });
  client.on('error', () => {});
  onTestFinished(() => client.disconnect());
  return client;
}

function startUser(dataDir: string): TestProcess {
  return startProcess([userFile, dataDir]);
}

async function usedBy(user: TestProcess): Promise<{ pid: number; joined: boolean }> {
  return JSON.parse((await user.waitForOutput(/\{.*\}/))[0]) as { pid: number; joined: boolean };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A program of this name, alone on the PATH but for the system's own tools. */
function onPath(program: string, script: string): void {
  const dir = tempDir();
  writeFileSync(path.join(dir, program), `#!/bin/sh\n${script}\n`);
  chmodSync(path.join(dir, program), 0o755);
  // mkfifo and sh without the redis-server that lives beside them.
  writeFileSync(path.join(dir, 'mkfifo'), '#!/bin/sh\nexec /usr/bin/mkfifo "$@"\n');
  writeFileSync(path.join(dir, 'sh'), '#!/bin/sh\nexec /bin/sh "$@"\n');
  for (const tool of ['mkfifo', 'sh']) chmodSync(path.join(dir, tool), 0o755);
  vi.stubEnv('PATH', dir);
  onTestFinished(() => void vi.unstubAllEnvs());
}

describe('a server of its own', () => {
  test('starts with an append-only file, no eviction and a private socket, and is gone after close', async () => {
    const dataDir = tempDir();
    const embedded = await open(dataDir);
    expect(embedded.joined).toBe(false);
    expect(statSync(embedded.socketPath).mode & 0o777).toBe(0o600);
    expect(statSync(path.join(dataDir, 'redis')).mode & 0o077).toBe(0);
    const client = connectTo(embedded);
    expect(await client.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
    expect(await client.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
    await client.set('kept', 'yes');
    client.disconnect();
    await embedded.close();
    expect(isAlive(embedded.pid)).toBe(false);
    await expect(embedded.ensure()).rejects.toThrow('closed');

    const again = await open(dataDir);
    expect(await connectTo(again).get('kept')).toBe('yes');
    expect(readdirSync(path.join(dataDir, 'redis')).filter((name) => name.startsWith('joined.'))).toEqual([]);
  });

  test('puts its socket into a private temporary directory when the path is too long for one', async () => {
    const dataDir = path.join(tempDir(), 'a-long-name-'.repeat(10));
    const embedded = await open(dataDir);
    expect(embedded.socketPath.length).toBeLessThan(100);
    expect(statSync(path.dirname(embedded.socketPath)).mode & 0o777).toBe(0o700);
    onTestFinished(() => rmSync(path.dirname(embedded.socketPath), { recursive: true, force: true }));
    vi.stubEnv('TMPDIR', tempDir());
    const second = await open(dataDir);
    vi.unstubAllEnvs();
    expect(second).toMatchObject({ joined: true, pid: embedded.pid, socketPath: embedded.socketPath });
  });

  test('stays for whoever has joined when its starter leaves', async () => {
    const dataDir = tempDir();
    const first = await open(dataDir);
    const second = await open(dataDir);
    expect(second).toMatchObject({ joined: true, pid: first.pid });
    await first.close();
    expect(await connectTo(second).ping()).toBe('PONG');
    await second.close();
    expect(isAlive(first.pid)).toBe(false);
  });

  test('starts on a damaged tail of its append-only file', async () => {
    const dataDir = tempDir();
    const embedded = await open(dataDir);
    await connectTo(embedded).set('kept', 'yes');
    await embedded.close();
    const files = path.join(dataDir, 'redis', 'appendonlydir');
    const file = readdirSync(files).find((name) => name.endsWith('.incr.aof')) ?? '';
    appendFileSync(path.join(files, file), '*3\r\n$3\r\nSET\r\n$4\r\nto');
    expect(await connectTo(await open(dataDir)).get('kept')).toBe('yes');
  });

  test('comes back on its data when somebody kills it', async () => {
    const embedded = await open(tempDir());
    await connectTo(embedded).set('kept', 'yes');
    const killed = embedded.pid;
    process.kill(killed, 'SIGKILL');
    await waitFor(() => !isAlive(killed));
    await Promise.all([embedded.ensure(), embedded.ensure()]);
    expect(embedded.pid).not.toBe(killed);
    expect(await connectTo(embedded).get('kept')).toBe('yes');
  });
});

describe('processes that share a directory', () => {
  test('five that start at once end with one server, and its last user takes it along however it dies', async () => {
    const dataDir = tempDir();
    for (let round = 1; round <= 3; round += 1) {
      const users = Array.from({ length: 5 }, () => startUser(dataDir));
      const used = await Promise.all(users.map(usedBy));
      const pids = new Set(used.map(({ pid }) => pid));
      expect(pids.size).toBe(1);
      expect(used.filter(({ joined }) => !joined)).toHaveLength(1);
      const [pid = 0] = pids;
      for (const user of users.slice(1)) await user.kill('SIGKILL');
      expect(isAlive(pid)).toBe(true);
      await users[0]?.kill('SIGKILL');
      // The last round waits for the end; the others start into it.
      if (round === 3) await waitFor(() => !isAlive(pid));
    }
  });

  test('a user that leaves in order waits until nothing is left', async () => {
    const user = startUser(tempDir());
    const { pid } = await usedBy(user);
    user.child.stdin.end();
    expect(await user.ended).toBe(0);
    expect(isAlive(pid)).toBe(false);
  });

  test('one that comes as the last user is killed has a server that stays', async () => {
    const dataDir = tempDir();
    for (let round = 1; round <= 4; round += 1) {
      const last = startUser(dataDir);
      await usedBy(last);
      const killed = last.kill('SIGKILL');
      const embedded = await open(dataDir);
      // A server that had been told to stop would cut this connection well before.
      expect(await connectTo(embedded).blpop('nothing', 0.3)).toBeNull();
      await killed;
      await embedded.close();
    }
  });

  test('a start that is killed half-way is taken over', async () => {
    const dataDir = tempDir();
    const fifo = path.join(dataDir, 'redis', 'users');
    const halfWay = startUser(dataDir);
    await waitFor(() => statSync(fifo, { throwIfNoEntry: false }));
    await halfWay.kill('SIGKILL');
    expect(await connectTo(await open(dataDir)).ping()).toBe('PONG');
  });
});

describe('a server that cannot start', () => {
  test('says which line installs one when there is none', async () => {
    vi.stubEnv('PATH', tempDir());
    onTestFinished(() => void vi.unstubAllEnvs());
    await expect(open(tempDir())).rejects.toThrow(/no redis-server or valkey-server on the PATH.*Install one with: \S/);
  });

  test('is refused when it is too old', async () => {
    onPath('redis-server', 'echo "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64"');
    await expect(open(tempDir())).rejects.toThrow(/6\.2 or newer is needed; .* is version 6\.0\.16/);
  });

  test('is quoted when it ends at once', async () => {
    onPath(
      'valkey-server',
      '[ "$1" = --version ] && echo "Valkey server v=8.1.0" || { echo "Out of luck" >&2; exit 7; }',
    );
    const opening = open(tempDir());
    await expect(opening).rejects.toMatchObject({ code: 'redis' });
    await expect(opening).rejects.toThrow(/did not start in .* \(exit code 7\)\. Its last lines:\n {2}Out of luck/);
  });

  test('is quoted when its append-only file is damaged beyond the tail', async () => {
    const dataDir = tempDir();
    const embedded = await open(dataDir);
    await connectTo(embedded).set('kept', 'yes');
    await embedded.close();
    const files = path.join(dataDir, 'redis', 'appendonlydir');
    const file = readdirSync(files).find((name) => name.endsWith('.incr.aof')) ?? '';
    writeFileSync(path.join(files, file), 'this is not an append-only file\r\n'.repeat(3));
    await expect(open(dataDir)).rejects.toThrow(/Bad file format reading the append only file/);
  });

  test('names a data directory that cannot be used', async () => {
    const file = path.join(tempDir(), 'file');
    writeFileSync(file, '');
    await expect(open(path.join(file, 'data'))).rejects.toMatchObject({
      code: 'disk',
      message: expect.stringContaining(`cannot use the data directory ${file}`) as string,
    });
    const dataDir = tempDir();
    mkdirSync(path.join(dataDir, 'redis', 'start.lock'), { recursive: true });
    await expect(open(dataDir)).rejects.toMatchObject({ code: 'disk' });
  });
});
