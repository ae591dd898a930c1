import { spawnSync } from 'node:child_process';
import { hostname } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { describe, expect, it, onTestFinished, test } from 'vitest';
import { takeLease, type Lease, type LeaseTiming } from '../../src/batch/lease.ts';
import { thisMachine } from '../../src/process-gone.ts';
import { startProcess } from '../support/process.ts';
import { testRedis } from '../support/redis.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { waitFor } from '../support/wait.ts';

const { client, names, namespace, url } = testRedis();
let count = 0;
const newId = () => `batch_${(count += 1)}`;

/** Short, so that a test sees a renewal soon; long against a machine that is busy elsewhere. */
const quick: LeaseTiming = { leaseMs: 60_000, renewEveryMs: 20 };

async function take(batchId: string, timing?: LeaseTiming): Promise<Lease> {
  const lease = await takeLease(client, names, batchId, timing);
  onTestFinished(() => lease.release());
  return lease;
}

const isLost = async (lease: Lease) => (await Promise.race([lease.lost.then(() => 'lost'), client.ping()])) === 'lost';

/** Another process has the batch and leaves it, within one step of Redis. Resolves with the words that name it. */
async function meanwhile(batchId: string): Promise<RegExp> {
  const [epoch = 0] = String(await client.get(names.lastHolder(batchId))).split(' ');
  const last = `${Number(epoch) + 1} elsewhere 7 0123456789abcdef`;
  await client.multi().del(names.lease(batchId)).set(names.lastHolder(batchId), last).exec();
  return /another process took batch_\d+ over \(process 7 on elsewhere\)/;
}

/** A PID namespace of its own, as a container has, under the same host name. */
const isolated = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];
const canIsolate = spawnSync('unshare', [...isolated.slice(1), 'true']).status === 0;

const holder = path.join(import.meta.dirname, 'lease-holder.ts');

describe('the lease on a batch', () => {
  it('names machine and process, and expires by itself', async () => {
    const batchId = newId();
    const lease = await take(batchId);
    expect(lease.token).toMatch(new RegExp(`^${thisMachine()} ${process.pid} [0-9a-f]{16}$`));
    expect(await client.get(names.lease(batchId))).toBe(lease.token);
    expect(await client.pttl(names.lease(batchId))).toBeGreaterThan(0);
  });

  it('is refused to a second process, which is told who has it', async () => {
    const batchId = newId();
    const child = startProcess([holder, url, namespace, batchId]);
    const [token] = await child.waitForOutput(/\S+ \d+ [0-9a-f]{16}/);
    await expect(takeLease(client, names, batchId)).rejects.toMatchObject({
      code: 'usage',
      exitCode: 2,
      message: expect.stringContaining(`${batchId} is already running (process ${child.pid} on ${hostname()})`),
    });
    expect(await client.get(names.lease(batchId))).toBe(token);
  });

  it('is refused with the batch\u2019s name, and with what to do if its holder is dead or hangs', async () => {
    const batchId = newId();
    onTestFinished(async () => void (await client.del(names.batch(batchId))));
    await client.hset(names.batch(batchId), { name: 'prompts' });
    await take(batchId);
    const us = `(process ${process.pid} on ${hostname()})`;
    const cure = 'if that process is dead or hangs, the same command works once it has been silent for 15 seconds';
    await expect(takeLease(client, names, batchId)).rejects.toMatchObject({
      message: `prompts (${batchId}) is already running ${us}; see it with: nightshift status; ${cure}`,
    });
  });

  it('is refused to a second run in this process', async () => {
    const batchId = newId();
    await take(batchId);
    await expect(takeLease(client, names, batchId)).rejects.toMatchObject({ code: 'usage' });
  });

  it('is taken over at once from a process of this machine that was killed', async () => {
    const batchId = newId();
    const child = startProcess([holder, url, namespace, batchId]);
    await child.waitForOutput(/\S+ \d+ [0-9a-f]{16}/);
    await child.kill('SIGKILL');
    // It has not run out.
    expect(await client.pttl(names.lease(batchId))).toBeGreaterThan(0);
    const lease = await take(batchId);
    expect(await client.get(names.lease(batchId))).toBe(lease.token);
  });

  it('is left to a process of another machine, dead or not, until it runs out', async () => {
    const batchId = newId();
    await client.set(names.lease(batchId), `elsewhere 4194304 0123456789abcdef`);
    await expect(takeLease(client, names, batchId)).rejects.toMatchObject({ message: /process 4194304 on elsewhere/ });
    await client.pexpire(names.lease(batchId), 1);
    await waitFor(async () => (await client.exists(names.lease(batchId))) === 0);
    await take(batchId);
  });

  it('is taken from a process that cannot be seen, once it has run out without being renewed', async () => {
    const batchId = newId();
    await client.set(names.lease(batchId), `${hostname()}.00000000 7 0123456789abcdef`, 'PX', 300);
    const lease = await take(batchId);
    expect(await client.get(names.lease(batchId))).toBe(lease.token);
  });

  it('is left to a process that cannot be seen, but renews it', async () => {
    const batchId = newId();
    const theirs = `${hostname()}.00000000 7 0123456789abcdef`;
    await client.set(names.lease(batchId), theirs, 'PX', 60_000);
    const asked = expect(takeLease(client, names, batchId)).rejects.toMatchObject({ code: 'usage' });
    await client.pexpire(names.lease(batchId), 90_000);
    const renewal = setInterval(() => void client.pexpire(names.lease(batchId), 90_000), 100);
    onTestFinished(() => clearInterval(renewal));
    await asked;
    expect(await client.get(names.lease(batchId))).toBe(theirs);
  });

  it('is not waited for any longer by a command that is interrupted', async () => {
    const batchId = newId();
    const theirs = `${hostname()}.00000000 7 0123456789abcdef`;
    await client.set(names.lease(batchId), theirs, 'PX', 60_000);
    const interruption = new AbortController();
    const { signal: interrupted } = interruption;
    const asked = expect(takeLease(client, names, batchId, { interrupted })).rejects.toMatchObject({
      code: 'interrupted',
      exitCode: 130,
    });
    // Commands of one connection come in their order: by now it has looked at the holder.
    for (let command = 0; command < 5; command += 1) await client.ping();
    interruption.abort();
    await asked;
    expect(await client.get(names.lease(batchId))).toBe(theirs);
  });

  it('is taken over from an earlier life with the same process id', async () => {
    const batchId = newId();
    await client.set(names.lease(batchId), `${thisMachine()} ${process.pid} 0123456789abcdef`);
    await take(batchId);
  });

  it('is left to a process of another machine with the same name and process id', async () => {
    const batchId = newId();
    for (const machine of [hostname(), `${hostname()}.00000000`]) {
      await client.set(names.lease(batchId), `${machine} ${process.pid} 0123456789abcdef`);
      const message = expect.stringContaining(`(process ${process.pid} on ${hostname()})`);
      await expect(takeLease(client, names, batchId)).rejects.toMatchObject({ message });
    }
  });

  it.skipIf(!canIsolate)('is left to a living process that the asking one cannot see', async () => {
    const batchId = newId();
    const lease = await take(batchId);
    const child = startProcess([holder, url, namespace, batchId], { through: isolated });
    await child.waitForOutput(/is already running/);
    expect(await client.get(names.lease(batchId))).toBe(lease.token);
  });

  it('goes to one of many who ask at once, on connections of their own', async () => {
    const connections = Array.from({ length: 8 }, () => new Redis(url));
    onTestFinished(() => connections.forEach((one) => one.disconnect()));
    await Promise.all(connections.map((one) => one.ping()));
    for (let round = 0; round < 20; round += 1) {
      const batchId = newId();
      const asked = await Promise.allSettled(connections.map((one) => takeLease(one, names, batchId)));
      const taken = asked.filter((one) => one.status === 'fulfilled').map(({ value }) => value);
      expect(taken.map(({ token }) => token)).toEqual([await client.get(names.lease(batchId))]);
      await taken[0]?.release();
    }
  });

  it('is free again when it is released', async () => {
    const batchId = newId();
    await (await takeLease(client, names, batchId)).release();
    expect(await client.exists(names.lease(batchId))).toBe(0);
    await take(batchId);
  });

  it('is not released when somebody else has it', async () => {
    const batchId = newId();
    const lease = await takeLease(client, names, batchId);
    await client.set(names.lease(batchId), 'elsewhere 1 other');
    await lease.release();
    expect(await client.get(names.lease(batchId))).toBe('elsewhere 1 other');
  });
});

describe('a lease that is held', () => {
  it('is renewed', async () => {
    const batchId = newId();
    const lease = await take(batchId, quick);
    await client.pexpire(names.lease(batchId), 30_000);
    await waitFor(async () => (await client.pttl(names.lease(batchId))) > 30_000);
    expect(await isLost(lease)).toBe(false);
  });

  it('is taken again when it ran out and nobody took it', async () => {
    const batchId = newId();
    const lease = await take(batchId, quick);
    await client.del(names.lease(batchId));
    await waitFor(async () => (await client.get(names.lease(batchId))) === lease.token);
    expect(await isLost(lease)).toBe(false);
  });

  it('is lost when somebody else has had it meanwhile, though it is free now', async () => {
    const batchId = newId();
    const lease = await take(batchId, quick);
    // As a process that does not run: its lease runs out, another has the batch and leaves.
    const theirs = await meanwhile(batchId);
    await lease.lost;
    await expect(lease.assertOurs()).rejects.toMatchObject({ code: 'usage', message: theirs });
    expect(await client.exists(names.lease(batchId))).toBe(0);
  });

  it('is not lost to a Redis that was restarted with older data', async () => {
    const batchId = newId();
    const earlier = await takeLease(client, names, batchId);
    const older = await client.get(names.lastHolder(batchId));
    await earlier.release();
    const lease = await take(batchId, quick);
    await client.multi().del(names.lease(batchId)).set(names.lastHolder(batchId), String(older)).exec();
    await lease.assertOurs();
    await waitFor(async () => (await client.get(names.lease(batchId))) === lease.token);
    expect(await isLost(lease)).toBe(false);
  });

  it('is lost when somebody else has it, and lost for good', async () => {
    const batchId = newId();
    const lease = await take(batchId, quick);
    await client.set(names.lease(batchId), 'elsewhere 1 other');
    await lease.lost;
    await client.del(names.lease(batchId));
    // A lease taken later in this process renews itself meanwhile: the lost one has had its chances.
    const other = newId();
    await take(other, quick);
    for (let renewal = 0; renewal < 3; renewal += 1) {
      await client.pexpire(names.lease(other), 30_000);
      await waitFor(async () => (await client.pttl(names.lease(other))) > 30_000);
    }
    expect(await client.exists(names.lease(batchId))).toBe(0);
  });
});

test('a lease outlives an outage of Redis', async () => {
  await using server = await startRedisServer();
  const connection = new Redis(server.url, { maxRetriesPerRequest: 0, retryStrategy: () => 5 });
  const admin = new Redis(server.url);
  for (const one of [connection, admin]) {
    one.on('error', () => {});
    onTestFinished(() => one.disconnect());
  }
  const batchId = newId();
  const lease = await takeLease(connection, names, batchId, { ...quick, renewEveryMs: 2 });
  // Renewals fail while the connection is gone, at whatever point that meets them; none may bring the process down.
  for (let outage = 0; outage < 30; outage += 1) {
    const kill = ['KILL', 'TYPE', 'NORMAL', 'SKIPME', 'YES'];
    await admin
      .multi()
      .del(names.lease(batchId))
      .call('CLIENT', ...kill)
      .exec();
    await waitFor(async () => (await admin.get(names.lease(batchId))) === lease.token);
  }
  await waitFor(() => connection.status === 'ready');
  await lease.release();
});
