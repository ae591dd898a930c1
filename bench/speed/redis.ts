/** A Redis of its own for one measurement, with the settings of nightshift's embedded one, on a unix socket. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { findServer, serverOptions } from '../../src/redis/embedded-server.ts';
import { startProgram } from './children.ts';

export type BenchRedis = AsyncDisposable & {
  url: string;
  socketPath: string;
  client: Redis;
  /** What its data takes, without the buffers of clients and of the append-only file. */
  dataBytes: () => Promise<number>;
  peakBytes: () => Promise<number>;
  cpuMicros: () => Promise<number>;
};

const startsWithinMs = 10_000;

export async function startRedis(): Promise<BenchRedis> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-bench-redis-'));
  const socketPath = path.join(dir, 'redis.sock');
  const server = startProgram(
    await findServer(),
    serverOptions({ dir, socketPath, logFile: path.join(dir, 'redis.log') }),
  );
  const client = new Redis({ path: socketPath, lazyConnect: true, retryStrategy: () => 20, maxRetriesPerRequest: 500 });
  client.on('error', () => {});
  const patience = AbortSignal.timeout(startsWithinMs);
  while ((await client.ping().catch(() => null)) === null) {
    if (patience.aborted) throw new Error(`redis-server does not start: ${server.stdout()}${server.stderr()}`);
    await sleep(20);
  }
  const info = async (section: string) => {
    const text = await client.info(section);
    return (field: string) => Number(new RegExp(`^${field}:([\\d.]+)`, 'm').exec(text)?.[1] ?? 0);
  };
  return {
    url: `unix://${socketPath}`,
    socketPath,
    client,
    async dataBytes() {
      const field = await info('memory');
      return field('used_memory') - field('mem_clients_normal') - field('mem_aof_buffer');
    },
    peakBytes: async () => (await info('memory'))('used_memory_peak'),
    async cpuMicros() {
      const field = await info('cpu');
      return Math.round((field('used_cpu_user') + field('used_cpu_sys')) * 1e6);
    },
    async [Symbol.asyncDispose]() {
      client.disconnect();
      await server.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
