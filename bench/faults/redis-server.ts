/**
 * The round's own redis-server, on a unix socket, so that nobody takes its address while it is down. Its append-only
 * file is synced before each answer (`appendfsync always`): what Redis has acknowledged is on disk, so whatever is
 * missing after a SIGKILL was lost by nightshift. With `everysec` a kill during a slow sync loses acknowledged writes.
 */
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startChild, type Child } from './child.ts';

export type RedisServer = {
  url: string;
  /** SIGKILL, and started again after a while. One after the other: two servers must never share a file. */
  crash: (downMs: number) => Promise<void>;
  stop: () => Promise<void>;
};

const readyWithinMs = 20_000;

/** `dir`: for its data; `socketPath` must be short (about 100 characters). */
export async function startRedis(dir: string, logFile: string): Promise<RedisServer> {
  mkdirSync(dir, { recursive: true });
  const socketPath = path.join(dir, 'redis.sock');
  const settings = ['--port', '0', '--unixsocket', socketPath, '--dir', dir, '--save', '', '--appendonly', 'yes'];
  settings.push('--appendfsync', 'always', '--maxmemory-policy', 'noeviction');
  let server: Child;
  async function start(): Promise<void> {
    server = startChild('redis-server', settings, { cwd: dir, env: process.env, logFile });
    for (const deadlineMs = performance.now() + readyWithinMs; !(await answers(socketPath)); await sleep(10)) {
      if (performance.now() < deadlineMs && server.isRunning()) continue;
      throw new Error(`redis-server does not start; see ${logFile}`);
    }
  }
  async function crash(downMs: number): Promise<void> {
    server.signal('SIGKILL');
    await server.ended;
    await sleep(downMs);
    await start();
  }
  await start();
  let turn = Promise.resolve();
  return {
    url: `unix://${socketPath}`,
    crash: (downMs) => (turn = turn.then(() => crash(downMs))),
    async stop() {
      await turn.catch(() => {});
      if (server.isRunning()) await server.stop(5000);
    },
  };
}

/** Whether PING is answered with PONG: it has read its file. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath, () => socket.write('PING\r\n'));
    socket.on('data', (bytes) => {
      resolve(bytes.toString().startsWith('+PONG'));
      socket.destroy();
    });
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });
}
