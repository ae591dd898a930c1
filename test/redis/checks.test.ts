import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { createLog } from '../../src/log.ts';
import { checkServer, judge, readFacts } from '../../src/redis/checks.ts';
import { startRedisServer, type TestServer } from '../support/redis-server.ts';

const healthy = {
  redis_version: '7.0.15',
  role: 'master',
  loading: '0',
  aof_enabled: '1',
  maxmemory_policy: 'noeviction',
};
const infoOf = (fields: Record<string, string>) =>
  `# Server\r\n${Object.entries(fields)
    .map(([name, value]) => `${name}:${value}\r\n`)
    .join('')}`;

test.each([
  ['Redis 7 with everything on', {}, null, []],
  ['Redis 6.2, the oldest', { redis_version: '6.2.0' }, null, []],
  ['Redis 10', { redis_version: '10.0.1' }, null, []],
  ['Redis 6.0', { redis_version: '6.0.16' }, /6\.2 or newer .* is 6\.0\.16/, []],
  ['Redis 5', { redis_version: '5.9.9' }, /is 5\.9\.9/, []],
  ['a server without a version', { redis_version: '' }, /nameless/, []],
  ['Valkey', { redis_version: '7.2.4', valkey_version: '8.1.0' }, null, []],
  ['Valkey by its own words', { redis_version: '7.2.4', valkey_version: '9.0.1', server_name: 'valkey' }, null, []],
  ['a Sentinel', { redis_mode: 'sentinel' }, /keeps no data; .*redis\+sentinel:\/\//, []],
  ['a node of a Cluster', { redis_mode: 'cluster' }, /one node of a Cluster; .*redis\+cluster:\/\//, []],
  ['a node of a Valkey Cluster', { valkey_version: '9.0.1', server_mode: 'cluster' }, /one node of a Cluster/, []],
  ['a replica', { role: 'slave' }, /replica/, []],
  [
    'an evicting server',
    { maxmemory_policy: 'allkeys-lru' },
    /allkeys-lru.*CONFIG SET maxmemory-policy noeviction/,
    [],
  ],
  ['a server without an append-only file', { aof_enabled: '0' }, null, [/CONFIG SET appendonly yes/]],
  ['a server that cannot write it', { aof_last_write_status: 'err' }, null, [/disk full/]],
])('%s is judged', (_name, fields, refusal, warnings) => {
  const judgement = judge(readFacts(infoOf({ ...healthy, ...fields }), null));
  if (refusal) expect(judgement.refusal).toMatch(refusal);
  else expect(judgement.refusal).toBeNull();
  expect(judgement.warnings).toEqual(warnings.map((warning) => expect.stringMatching(warning) as string));
});

test('what CONFIG says wins over INFO, and a server that tells neither is warned about', () => {
  expect(readFacts(infoOf(healthy), 'volatile-ttl').evictionPolicy).toBe('volatile-ttl');
  const silent = readFacts(infoOf({ redis_version: '7.0.0', aof_enabled: '1' }), null);
  expect(judge(silent)).toEqual({ refusal: null, warnings: [expect.stringContaining('maxmemory-policy')] });
});

test('a node of a Cluster is well for a client of the Cluster', () => {
  const facts = readFacts(infoOf({ ...healthy, redis_mode: 'cluster' }), null);
  expect(judge(facts, true)).toEqual({ refusal: null, warnings: [] });
});

test('Valkey tells its own version', () => {
  const facts = readFacts(infoOf({ ...healthy, redis_version: '7.2.4', valkey_version: '8.1.0' }), null);
  expect(facts).toMatchObject({ product: 'valkey', version: '8.1.0', redisVersion: '7.2.4' });
});

async function connected(
  ...options: string[]
): Promise<{ client: Redis; server: TestServer; warnings: string[]; log: ReturnType<typeof createLog> }> {
  const server = await startRedisServer(options);
  const client = new Redis(server.url);
  onTestFinished(async () => {
    await client.quit();
    await server.stop();
  });
  const log = createLog('silent');
  const warnings: string[] = [];
  log.warn = (message: unknown) => void warnings.push(String(message));
  return { client, server, warnings, log };
}

test('a real server with everything on passes without a word', async () => {
  const { client, log, warnings } = await connected();
  expect(await checkServer(client, log)).toMatchObject({
    isAppendOnly: true,
    evictionPolicy: 'noeviction',
    role: 'master',
  });
  expect(warnings).toEqual([]);
});

test('a real evicting server is refused, also when CONFIG is forbidden', async () => {
  const { client, log } = await connected('--maxmemory-policy', 'allkeys-lru');
  await expect(checkServer(client, log)).rejects.toMatchObject({ code: 'redis' });
  await client.call('ACL', 'SETUSER', 'default', '-config');
  await expect(checkServer(client, log)).rejects.toThrow('allkeys-lru');
});

test('a real server without an append-only file is warned about once', async () => {
  const { client, log, warnings } = await connected('--appendonly', 'no');
  await checkServer(client, log);
  await checkServer(client, log);
  expect(warnings).toHaveLength(1);
});

test('a real replica is refused', async () => {
  const { client, log } = await connected('--replicaof', '127.0.0.1', '1');
  await expect(checkServer(client, log)).rejects.toThrow('primary');
});
