/**
 * A redis-server for a test, spawned plainly (the product's embedded one is under test itself). It reads its standard
 * input's end through a shell, so it ends with us even if we are killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { freePort, waitFor } from './wait.ts';

export type TestServer = AsyncDisposable & {
  dir: string;
  port: number;
  socketPath: string;
  url: string;
  stop(): Promise<void>;
};

const script = `
exec 3<&0 </dev/null
"$@" 3<&- & server=$!
( read -r never <&3; kill -TERM "$server" ) & watch=$!
wait "$server"; status=$?
kill "$watch"; wait "$watch"
exit "$status"
`;

/** `options` are added to, and win over: no snapshots, append-only file, no eviction. */
export async function startRedisServer(options: string[] = []): Promise<TestServer> {
  for (let attempt = 1; ; attempt += 1) {
    const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-test-'));
    const socketPath = path.join(dir, 'redis.sock');
    const port = await freePort();
    const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--unixsocket', socketPath, '--dir', dir];
    settings.push('--save', '', '--appendonly', 'yes', '--maxmemory-policy', 'noeviction');
    settings.push('--logfile', path.join(dir, 'redis.log'), ...options);
    const server = spawn('sh', ['-c', script, 'test-redis', 'redis-server', ...settings], {
      stdio: ['pipe', 'ignore', 'ignore'],
      // Not the group of the terminal: a Ctrl-C goes to vitest, which stops us in order.
      detached: true,
    });
    const stop = async () => {
      if (isRunning(server)) {
        const ended = once(server, 'exit');
        server.stdin.end();
        await ended;
      }
      rmSync(dir, { recursive: true, force: true });
    };
    await waitFor(async () => !isRunning(server) || (await accepts(socketPath)), { what: 'redis-server starts' });
    if (isRunning(server)) {
      return { dir, port, socketPath, url: `redis://127.0.0.1:${port}`, stop, [Symbol.asyncDispose]: stop };
    }
    const said = readFileSync(path.join(dir, 'redis.log'), 'utf8');
    await stop();
    // Somebody may have taken the port in between.
    if (attempt === 3 || !said.includes('bind')) throw new Error(`redis-server does not start:\n${said}`);
  }
}

function isRunning(server: ChildProcess): boolean {
  return server.exitCode === null && server.signalCode === null;
}

function accepts(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
