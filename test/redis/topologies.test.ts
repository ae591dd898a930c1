/** Batches on a primary behind Sentinels and on a Cluster, through the loss of the server that has their keys. */
import { expect, test } from 'vitest';
import { createWorld, endOf, expectExit, ledgerAndTruth, readResults, writeInput, type World } from '../e2e/support.ts';
import { createLog } from '../../src/log.ts';
import { openRedis } from '../../src/redis/connect.ts';
import { deniedIn, leastRightsInCluster } from './rights.ts';
import { startCluster, startSentinelSet } from './servers.ts';

const run = ['run', 'in.jsonl', '--out', 'out', '--concurrency', '20'];
const scenario = { latencyMs: { min: 20, max: 100 } };

function expectEachLineOnce(world: World, ids: string[]): void {
  expect(readResults(world, ids).errors).toEqual([]);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
}

async function redisFindings(world: World) {
  const { stdout } = await world.nightshift(['doctor', '--json']);
  const { findings } = JSON.parse(stdout) as { findings: Record<'check' | 'level' | 'what' | 'evidence', string>[] };
  return findings.filter(({ check }) => check === 'redis');
}

test('a batch goes on after a fail-over by Sentinels, each line once', async () => {
  const redis = await startSentinelSet();
  const world = await createWorld({ redisUrl: redis.url, scenario });
  const ids = writeInput(world, { count: 300 });
  const running = world.start(run);
  await world.untilCalls(100, running);
  await redis.primary.kill();
  const ended = await endOf(running);
  expectExit(ended, 0);
  expect(ended.stderr).toContain('Redis connection lost; reconnecting');
  expectEachLineOnce(world, ids);
  expect(String(await redis.replica.ask('INFO', 'replication'))).toContain('role:master');
  expect((await redisFindings(world)).filter(({ level }) => level !== 'ok')).toEqual([]);

  const opening = openRedis({ url: redis.url.replace('/main', '/other'), dataDir: '/none', log: createLog('silent') });
  await expect(opening).rejects.toThrow('its Sentinels know no primary of that name');
});

test('a batch goes on after a restart of the Cluster\u2019s node that has its keys, each line once', async () => {
  // As a user with the least rights, which the node knows again when it is back.
  const cluster = await startCluster(['--user', 'nightshift', 'on', '>secret', ...leastRightsInCluster]);
  const redisUrl = cluster.url.replace('//', '//nightshift:secret@');
  const world = await createWorld({ redisUrl, scenario });
  const ids = writeInput(world, { count: 300 });
  const running = world.start(run);
  await world.untilCalls(100, running);
  const node = await cluster.nodeOf('{nightshift}');
  expect(Number(await node.ask('DBSIZE'))).toBeGreaterThan(0);
  await node.kill();
  await node.start();
  expectExit(await endOf(running), 0);
  expectEachLineOnce(world, ids);

  const findings = await redisFindings(world);
  expect(findings.filter(({ level }) => level !== 'ok')).toEqual([]);
  const all = { what: 'it is a primary', evidence: 'all 3 primaries of the Cluster' };
  expect(findings).toContainEqual(expect.objectContaining(all));
  for (const each of cluster.nodes) expect(await deniedIn(each)).toEqual([]);
});
