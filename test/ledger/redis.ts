/** A redis-server of the test's own, on a unix socket and with an append-only file, that can be killed and restarted. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';

export type OwnRedis = {
  socket: string;
  /** A client that waits through outages; closed by `stop`. */
  connect(): Redis;
  start(): Promise<void>;
  kill(): Promise<void>;
  stop(): Promise<void>;
};

export async function ownRedis(): Promise<OwnRedis> {
  const directory = mkdtempSync(path.join(tmpdir(), 'nightshift-redis-'));
  const socket = path.join(directory, 'redis.sock');
  const clients: Redis[] = [];
  let server: ChildProcess | null = null;
  const own: OwnRedis = {
    socket,
    connect() {
      const client = new Redis({ path: socket, maxRetriesPerRequest: null, retryStrategy: () => 20 });
      client.on('error', () => {});
      clients.push(client);
      return client;
    },
    async start() {
      const settings = ['--port', '0', '--unixsocket', socket, '--dir', directory, '--appendonly', 'yes', '--save', ''];
      server = spawn('redis-server', settings, { stdio: 'ignore' });
      const probe = own.connect();
      await probe.ping();
      probe.disconnect();
    },
    async kill() {
      if (!server) return;
      const exited = once(server, 'exit');
      server.kill('SIGKILL');
      await exited;
      server = null;
    },
    async stop() {
      for (const client of clients) client.disconnect();
      await own.kill();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  await own.start();
  return own;
}
