import { Queue, Worker } from 'bullmq';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { createLog } from '../../src/log.ts';
import { openRedis, reconnectPauseMs, type RedisHandle } from '../../src/redis/connect.ts';
import { startProcess } from '../support/process.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { freePort, waitFor } from '../support/wait.ts';

const log = createLog('silent');

async function open(url: string | null, dataDir = '/nonexistent', giveUpAfterMs = 500): Promise<RedisHandle> {
  const handle = await openRedis({ url, dataDir, log, giveUpAfterMs });
  onTestFinished(() => handle.close());
  return handle;
}

function tempDir(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-connect-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }));
  return dir;
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

async function runOneJob(handle: RedisHandle): Promise<unknown> {
  const prefix = '{connect-test}';
  const queue = new Queue<{ value: number }>('queue', { connection: handle.connectionOptions, prefix });
  const worker = new Worker<{ value: number }, number>('queue', async (job) => job.data.value * 2, {
    connection: handle.connectionOptions,
    prefix,
  });
  const errors: Error[] = [];
  queue.on('error', (error) => errors.push(error));
  worker.on('error', (error) => errors.push(error));
  const completed = new Promise((resolve) => worker.once('completed', (_job, value) => resolve(value)));
  await queue.add('job', { value: 21 });
  const value = await completed;
  await worker.close();
  await queue.obliterate({ force: true });
  await queue.close();
  expect(errors).toEqual([]);
  return value;
}

describe('a URL', () => {
  test('opens a connection that BullMQ works with, with duplicates that close along', async () => {
    const handle = await open(inject('redisUrl'));
    expect(handle.embedded).toBeNull();
    expect(handle.describe()).toBe(inject('redisUrl'));
    expect(await runOneJob(handle)).toBe(42);
    const duplicate = handle.duplicate('blocking reads');
    expect(await duplicate.client('GETNAME')).toBe('nightshift:blocking-reads');
    await handle.close();
    expect(duplicate.status).toBe('end');
    expect(handle.client.status).toBe('end');
  });

  test('may name a user, a password, a database and a unix socket', async () => {
    await using server = await startRedisServer(['--requirepass', 'p@ss/w#rd']);
    const secret = encodeURIComponent('p@ss/w#rd');
    const byPassword = await open(`redis://:${secret}@127.0.0.1:${server.port}/3`);
    await byPassword.client.set('where', 'db 3');
    await byPassword.client.call('ACL', 'SETUSER', 'bob', 'on', '>hunter2', '~*', '&*', '+@all', '-ping');
    const bySocket = await open(`unix://bob:hunter2@${server.socketPath}?db=3`);
    expect(await bySocket.client.get('where')).toBe('db 3');
    expect(bySocket.describe()).toBe(`unix://bob:***@${server.socketPath}?db=3`);
    expect(await runOneJob(bySocket)).toBe(42);
    await bySocket.close();
    await byPassword.close();
    for (const [url, message] of [
      [`redis://127.0.0.1:${server.port}`, /wants a password/],
      [`redis://bob:wrong-secret@127.0.0.1:${server.port}`, /bob:\*\*\*@.* refuses the user or the password/],
      [`redis://:${secret}@127.0.0.1:${server.port}/99`, /no such database/],
    ] as const) {
      const failure = await open(url).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'redis', message: expect.stringMatching(message) as string });
      expect(JSON.stringify(failure, Object.getOwnPropertyNames(failure))).not.toMatch(/wrong-secret|p@ss/);
    }
  });

  test('with rediss:// speaks TLS, and says when the certificate or the other side is wrong', async (context) => {
    const dir = tempDir();
    const [key, certificate] = [path.join(dir, 'key.pem'), path.join(dir, 'certificate.pem')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const algorithm = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
    const request = ['req', '-x509', ...algorithm, '-keyout', key, '-out', certificate, ...subject];
    if (spawnSync('openssl', request).status !== 0) context.skip('needs openssl');
    const tlsPort = await freePort();
    const tlsOptions = ['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-ca-cert-file', certificate];
    await using server = await startRedisServer([
      '--tls-port',
      `${tlsPort}`,
      '--tls-auth-clients',
      'no',
      ...tlsOptions,
    ]);
    await expect(open(`rediss://localhost:${tlsPort}`)).rejects.toThrow(
      /certificate is not trusted; .*NODE_EXTRA_CA_CERTS/,
    );
    await expect(open(`redis://127.0.0.1:${tlsPort}`)).rejects.toThrow(/rediss:\/\//);
    await expect(open(`rediss://127.0.0.1:${server.port}`)).rejects.toThrow(/write redis:\/\//);
    const user = startProcess([path.join(import.meta.dirname, 'connect-user.ts'), `rediss://localhost:${tlsPort}`], {
      env: { NODE_EXTRA_CA_CERTS: certificate },
    });
    await user.waitForOutput(/PONG/);
    expect(await user.ended).toBe(0);
  });
});

describe('a server that cannot be reached', () => {
  test('is named with the cause and the cure', async () => {
    await expect(open(`redis://:hunter2@127.0.0.1:${await freePort()}`)).rejects.toThrow(
      /the Redis at redis:\/\/:\*\*\*@127\.0\.0\.1:\d+: nothing listens there; start it/,
    );
    await expect(open(`unix://${tempDir()}/none.sock`)).rejects.toThrow(/no such socket/);
    await expect(open('redis://nowhere.invalid')).rejects.toThrow(/host name is not known|no answer/);
    await expect(open(`redis+sentinel://127.0.0.1:${await freePort()}/main`)).rejects.toThrow(/nothing listens there/);
    await expect(open(`redis+cluster://127.0.0.1:${await freePort()}`)).rejects.toThrow(/nothing listens there/);
    await expect(open(inject('redisUrl').replace('redis:', 'redis+cluster:'))).rejects.toThrow(/it is no Cluster/);
    const asSentinel = `${inject('redisUrl').replace('redis:', 'redis+sentinel:')}/main`;
    await expect(open(asSentinel)).rejects.toThrow(/what answers there is no Sentinel/);
    await expect(open('amqp://localhost')).rejects.toMatchObject({ code: 'config' });
  });

  test('is told from one that does not answer, hangs up, or is no Redis', async () => {
    const sockets: { destroy(): void }[] = [];
    const silent = createServer((socket) => void sockets.push(socket.on('error', () => {})));
    const rude = createServer((socket) => socket.on('error', () => {}).destroy());
    const web = createServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      for (const server of [silent, rude, web]) server.close();
    });
    await expect(open(`redis://127.0.0.1:${await listen(silent)}`)).rejects.toThrow(/no answer; check host/);
    await expect(open(`redis://127.0.0.1:${await listen(rude)}`)).rejects.toThrow(/closes the connection/);
    await expect(open(`redis://127.0.0.1:${await listen(web)}`)).rejects.toThrow(/does not speak the Redis protocol/);
  });

  test('may come a little later', async () => {
    const port = await freePort();
    const opening = open(`redis://127.0.0.1:${port}`, '/nonexistent', 10_000);
    await using _server = await startRedisServer(['--port', `${port}`]);
    const handle = await opening;
    expect(await handle.client.ping()).toBe('PONG');
    await handle.close();
  });
});

describe('without a URL', () => {
  test('the embedded server serves BullMQ, and comes back under its clients when it is killed', async () => {
    const dataDir = tempDir();
    const handle = await open(null, dataDir, 10_000);
    expect(handle.describe()).toBe(`embedded Redis in ${path.join(dataDir, 'redis')}`);
    expect(await runOneJob(handle)).toBe(42);
    const duplicate = handle.duplicate('reads');
    await handle.client.set('kept', 'yes');
    const killed = handle.embedded?.pid ?? 0;
    process.kill(killed, 'SIGKILL');
    await waitFor(() => handle.client.status !== 'ready');
    expect(await handle.client.get('kept')).toBe('yes');
    expect(await duplicate.get('kept')).toBe('yes');
    await waitFor(() => handle.embedded?.pid !== killed);
    await handle.close();
  });

  test('closing during an outage ends waiting commands', async () => {
    const server = await startRedisServer();
    const handle = await open(server.url);
    await server.stop();
    await waitFor(() => handle.client.status === 'reconnecting');
    const waiting = handle.client.get('key').catch((error: Error) => error.message);
    await handle.close();
    expect(await waiting).toBe('Connection is closed.');
  });
});

describe('an outage', () => {
  test('is waited for by commands, also by those that were given in it', async () => {
    await using server = await startRedisServer();
    const handle = await open(server.url);
    await server.stop();
    await waitFor(() => handle.client.status === 'reconnecting');
    const waiting = handle.client.set('given', 'meanwhile');
    await using _second = await startRedisServer(['--port', `${server.port}`]);
    expect(await waiting).toBe('OK');
    await handle.close();
  });

  test('does not keep a waiting worker of the queue from closing', async () => {
    const server = await startRedisServer();
    const handle = await open(server.url);
    const worker = new Worker('queue', async () => {}, { connection: handle.connectionOptions, drainDelay: 1 });
    worker.on('error', () => {});
    await new Promise<void>((resolve) => worker.once('drained', () => resolve()));
    const blocking = (await worker.getBackend().blockingClient) as { status: string } | undefined;
    await server.stop();
    await waitFor(() => blocking?.status === 'reconnecting');
    await worker.close();
    expect(blocking?.status).toBe('end');
  });

  test('that is longer than the patience is told, and ends every command', async () => {
    const server = await startRedisServer();
    const handle = await openRedis({ url: server.url, dataDir: '/nonexistent', log, patienceMs: 200 });
    onTestFinished(() => handle.close());
    await server.stop();
    await waitFor(() => handle.client.status === 'reconnecting');
    const waiting = handle.client.get('key').catch((error: Error) => error.message);
    expect(await handle.gone).toMatchObject({ code: 'redis', message: expect.stringContaining('lost the Redis at') });
    expect(await waiting).toBe('Connection is closed.');
    await expect(handle.client.get('key')).rejects.toThrow('Connection is closed.');
  });
});

test('pauses between attempts to reconnect grow and stay below a cap', () => {
  for (let times = 1; times <= 1_000; times += 1) {
    const pauseMs = reconnectPauseMs(times);
    expect(pauseMs).toBeGreaterThanOrEqual(37);
    expect(pauseMs).toBeLessThanOrEqual(Math.min(2_000, 50 * 2 ** (times - 1)));
  }
});
