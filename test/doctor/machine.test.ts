import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { checkClock } from '../../src/doctor/clock.ts';
import { checkNode, judgeDisk } from '../../src/doctor/machine.ts';
import { judgeMemory, judgeWrites } from '../../src/doctor/redis.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { freePort } from '../support/wait.ts';
import { createWard, findingsOf, problems, simulate } from './ward.ts';

test('an evicting Redis without an append-only file is found out', async () => {
  await using server = await startRedisServer(['--maxmemory-policy', 'allkeys-lru', '--appendonly', 'no']);
  const { simulator, keys } = await simulate({});
  const report = await createWard({ baseUrl: simulator.baseUrl, keys, redisUrl: server.url }).examine();
  expect(problems(report)).toEqual([
    expect.objectContaining({
      check: 'redis',
      what: 'it may throw data away',
      evidence: expect.stringContaining('allkeys-lru'),
      cure: expect.stringContaining('CONFIG SET maxmemory-policy noeviction'),
    }),
  ]);
  const forgetful = findingsOf(report, 'redis').filter(({ level }) => level === 'warning');
  expect(forgetful).toEqual([expect.objectContaining({ cure: expect.stringContaining('appendonly yes') })]);
});

test('a Redis that is not there is a finding, and the keys are looked at all the same', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }] });
  const redisUrl = `redis://user:hunter2hunter2@127.0.0.1:${await freePort()}`;
  const report = await createWard({ baseUrl: simulator.baseUrl, keys, redisUrl }).examine();
  expect(problems(report)).toEqual([
    expect.objectContaining({ check: 'redis', evidence: expect.stringMatching(/nothing listens there/) }),
  ]);
  expect(findingsOf(report, 'key', 'a')).toEqual([expect.objectContaining({ level: 'ok' })]);
  expect(JSON.stringify(report)).not.toContain('hunter2');
});

test('a Redis URL and a configuration that cannot be read are findings', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }] });
  const misspelt = await createWard({ baseUrl: simulator.baseUrl, keys, redisUrl: 'http://127.0.0.1' }).examine();
  expect(problems(misspelt)).toEqual([expect.objectContaining({ check: 'redis' })]);
  const ward = createWard({ baseUrl: simulator.baseUrl, keys, config: { nosuchfield: 1 } });
  expect(problems(await ward.examine())).toEqual([
    expect.objectContaining({ check: 'configuration', evidence: expect.stringContaining('nosuchfield') }),
  ]);
});

test('a ledger that is no database is found, and none is made', async () => {
  const { simulator, keys } = await simulate({});
  const ward = createWard({ baseUrl: simulator.baseUrl, keys });
  expect(findingsOf(await ward.examine(), 'ledger')).toEqual([
    expect.objectContaining({ level: 'ok', what: 'there is no ledger yet' }),
  ]);
  mkdirSync(path.join(ward.dir, 'data'), { recursive: true });
  writeFileSync(path.join(ward.dir, 'data', 'ledger.db'), 'this is no database at all'.repeat(100));
  expect(problems(await ward.examine())).toEqual([
    expect.objectContaining({ check: 'ledger', cure: expect.stringMatching(/move it away/) }),
  ]);
});

const gigabyte = 1024 ** 3;
test.each([
  ['room for all', 50 * gigabyte, 1e6, 1e5, ['ok', 'ok']],
  ['half a gigabyte', gigabyte / 2, 1e6, 1e5, ['warning', 'ok']],
  ['ten megabytes', gigabyte / 100, 1e6, 1e5, ['problem', 'ok']],
  ['few inodes', 50 * gigabyte, 1e6, 5000, ['ok', 'warning']],
  ['no inodes', 50 * gigabyte, 1e6, 0, ['ok', 'problem']],
  ['a file system that counts none', 50 * gigabyte, 0, 0, ['ok']],
])('a disk with %s is judged', (_, free, files, ffree, levels) => {
  const findings = judgeDisk('/data', { bavail: free / 4096, bsize: 4096, files, ffree });
  expect(findings.map(({ level }) => level)).toEqual(levels);
});

test('clocks, Node and what Redis tells of its memory and its disk are judged', () => {
  expect([0, 4900, -4900, 5100, -60_000].map((skewMs) => checkClock('redis', skewMs).level)).toEqual([
    'ok',
    'ok',
    'ok',
    'warning',
    'warning',
  ]);
  expect(checkNode('22.11.0')).toMatchObject({ level: 'problem', evidence: expect.stringContaining('22.11.0') });
  const memory = (used: string, most: string) =>
    judgeMemory(
      new Map([
        ['used_memory', used],
        ['maxmemory', most],
      ]),
    ).map(({ level }) => level);
  expect([memory('90', '0'), memory('50', '100'), memory('95', '100'), memory('100', '100')]).toEqual([
    ['ok'],
    ['ok'],
    ['warning'],
    ['problem'],
  ]);
  expect(judgeWrites(new Map([['rdb_last_bgsave_status', 'err']]))).toEqual([
    expect.objectContaining({ level: 'problem', evidence: 'rdb_last_bgsave_status: err' }),
  ]);
});
