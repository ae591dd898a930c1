/** Connections that hang without an end: nothing comes back on them, and nobody says that they are closed. */
import { Queue, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { createLog } from '../../src/log.ts';
import { openRedis } from '../../src/redis/connect.ts';
import { waitFor } from '../support/wait.ts';
import { startWatchdog } from '../../workers/watchdog.ts';
import { startProxy } from './proxy.ts';
import { startServer } from './servers.ts';

const log = createLog('silent');

test('a client gives up a connection on which no answer comes, and sends its commands again on a new one', async () => {
  const server = await startServer();
  const proxy = await startProxy(server.port);
  const url = `redis://127.0.0.1:${proxy.port}`;
  await using handle = await openRedis({ url, dataDir: '/nonexistent', log });
  // Not the twenty seconds that a busy server may take.
  (handle.client as Redis).options.socketTimeout = 200;
  proxy.swallow();
  expect(await handle.client.set('sent', 'again')).toBe('OK');
  expect(await server.ask('GET', 'sent')).toBe('again');
});

test('a worker whose connections hang is replaced while jobs wait, and a busy or idle one is not', async () => {
  const server = await startServer();
  const proxy = await startProxy(server.port);
  const connection = { port: proxy.port, host: '127.0.0.1', maxRetriesPerRequest: null };
  const queue = new Queue<{ id: number }>('jobs', { connection: { port: server.port, host: '127.0.0.1' } });
  onTestFinished(() => queue.close());
  const taken: number[] = [];
  const workers: Worker[] = [];
  let running = 0;
  let takenAt = performance.now();
  let release = () => {};
  const startWorker = () => {
    takenAt = performance.now();
    const worker = new Worker<{ id: number }>(
      'jobs',
      async (job) => {
        takenAt = performance.now();
        taken.push(job.data.id);
        running += 1;
        if (job.data.id === 1) await new Promise<void>((resolve) => (release = resolve));
        running -= 1;
      },
      { connection, concurrency: 1, drainDelay: 1 },
    );
    worker.on('error', () => {});
    workers.push(worker);
  };
  startWorker();
  let looks = 0;
  const watchdog = startWatchdog({
    isWorkWaiting: async () => (await queue.getWaitingCount()) > 0 && ++looks > 0,
    lastTakenAt: () => takenAt,
    hasRoom: () => running < 1,
    recreate: async () => {
      void workers
        .at(-1)
        ?.close()
        .catch(() => {});
      startWorker();
    },
    log,
    silentForMs: 400,
    lookEveryMs: 50,
  });
  onTestFinished(async () => {
    watchdog[Symbol.dispose]();
    proxy.hangUp();
    await Promise.all(workers.map((worker) => worker.close()));
  });

  await queue.add('job', { id: 1 });
  await waitFor(() => running === 1);
  await queue.add('job', { id: 2 });
  const busySince = performance.now();
  // Longer than the watchdog's patience.
  await waitFor(() => performance.now() - busySince > 800);
  expect({ workers: workers.length, looks }).toEqual({ workers: 1, looks: 0 });
  release();
  await waitFor(() => taken.includes(2) && running === 0);
  const idleSince = performance.now();
  await waitFor(() => performance.now() - idleSince > 800);
  expect(workers).toHaveLength(1);

  proxy.swallow();
  await queue.add('job', { id: 3 });
  await waitFor(() => taken.includes(3));
  expect(workers.length).toBeGreaterThan(1);
});
