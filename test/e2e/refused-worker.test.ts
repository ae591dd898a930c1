/** A worker whose keys the provider refuses: from outside it would look like one that has nothing to do. */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { keyIdOf } from '../../src/keys/keyring.ts';
import { drainKey } from '../../src/keys/standing.ts';
import { createNames } from '../../src/redis/names.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { createWorld, endOf, expectExit, summaryOf, writeInput, type WorldPlan } from './support.ts';

async function place(plan: WorldPlan) {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  return { ...(await createWorld({ ...plan, redisUrl: server.url })), redisUrl: server.url };
}
const count = (text: string, what: string) => text.split(what).length - 1;
const nothing = 'this worker can send nothing with its own keys until one of them works';

test('a worker warns of each refused key once, says that it can send nothing, and goes on with a key that works', async () => {
  const revoked = { simulated: { revoked: true } };
  const world = await place({ keys: [{ name: 'a', ...revoked }, { name: 'b', ...revoked }, { name: 'c' }] });
  const all = JSON.parse(readFileSync(world.file('nightshift.config.json'), 'utf8')) as { keys: { name: string }[] };
  const { keys, ...config } = all;
  world.configure({ ...config, keys: keys.slice(0, 2) });
  const worker = world.start(['worker']);
  await worker.waitForOutput(/: 2 keys, /);
  for (const name of ['a', 'b']) expect(worker.stderr()).toContain(`key ${name} was refused (revoked): `);
  expect(worker.stderr()).toContain('nightshift keys check');
  expect(count(worker.stderr(), nothing)).toBe(1);

  world.configure({ ...config, keys });
  await worker.waitForOutput(/Keys read again: added c/);
  writeInput(world, { count: 5 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--no-worker']), 0);
  worker.child.kill('SIGTERM');
  expectExit(await endOf(worker), 0);
  expect(worker.stderr().match(/key . was refused/g)).toHaveLength(2);
  expect(count(worker.stderr(), nothing)).toBe(1);
});

test('a run that warned of a refused key does not warn again as it begins to send', async () => {
  const world = await place({ keys: [{ name: 'a' }, { name: 'b', simulated: { revoked: true } }] });
  writeInput(world, { count: 5 });
  const ended = await world.nightshift(['run', 'in.jsonl', '--out', 'out']);
  expectExit(ended, 0);
  expect(count(ended.stderr, 'key b was refused (revoked): ')).toBe(1);
  expect(ended.stderr).not.toContain(nothing);
});

test('beside a worker with wrong secrets a stop names the drained keys, and the command it gives lets the batch go on', async () => {
  const good = await place({ keys: [{ name: 'a' }, { name: 'b' }, { name: 'c' }], config: { namespace: 'refused' } });
  const wrong = await createWorld({ keys: [{ name: 'a' }, { name: 'b' }], redisUrl: good.redisUrl });
  // Its own secrets, which the other's provider does not know.
  wrong.configure({ namespace: 'refused', providers: { privatemind: { baseUrl: good.simulator.baseUrl } } });
  const workers = [good, wrong].map((world) => world.start(['worker', '--concurrency', '5']));
  await Promise.all(workers.map((worker) => worker.waitForOutput(/5 calls at once/)));
  const client = new Redis(good.redisUrl);
  onTestFinished(() => client.disconnect());
  for (const token of good.tokens) await drainKey(client, createNames('refused'), keyIdOf(token));
  writeInput(good, { count: 5 });
  const run = ['run', 'in.jsonl', '--out', 'out', '--no-worker', '--json'];
  const stopped = await good.nightshift(run);
  expectExit(stopped, 4);
  const { cause = '' } = summaryOf(stopped).stoppedBy ?? {};
  for (const name of ['a', 'b', 'c']) expect(cause).toMatch(new RegExp(`\\b${name}( \\[[0-9a-f]{12}\\])? drained`));
  expect(cause).not.toMatch(/ active\b/);
  const [, handle = ''] = /nightshift keys resume (\w+)/.exec(cause) ?? [];
  expectExit(await good.nightshift(['keys', 'resume', handle]), 0);
  expectExit(await good.nightshift(run), 0);
});
