/** What other commands say of a batch: that nobody runs it, what it has spent, and why it cannot go on. */
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { startRedisServer } from '../support/redis-server.ts';
import { waitFor } from '../support/wait.ts';
import { testRedis } from '../support/redis.ts';
import { createPlace } from './place.ts';
import { createWorld, expectExit, summaryOf, writeInput } from './support.ts';

const { url, namespace } = testRedis();

test('status tells a batch that a process runs from one whose process was killed, and usage takes its name', async () => {
  const scenario = { latencyMs: { min: 100, max: 200 } };
  const place = await createWorld({ redisUrl: url, config: { namespace }, scenario });
  writeInput(place, { count: 300 });
  const running = place.start(['run', 'in.jsonl', '--out', 'out', '--name', 'tonight', '--concurrency', '2']);
  await place.untilCalls(3, running);
  const status = async (...args: string[]) => place.nightshift(['status', ...args]);
  const parsed = async () => JSON.parse((await status('tonight', '--json')).stdout) as Record<string, unknown>;
  expect(await parsed()).toMatchObject({ status: 'in_progress', running: true });
  expect((await status('tonight')).stdout).not.toContain('no process');
  running.child.kill('SIGKILL');
  await running.ended;
  expect(await parsed()).toMatchObject({ status: 'in_progress', running: false });
  const hint = 'no process runs it; go on with: nightshift resume tonight';
  expect((await status('tonight')).stdout).toContain(`  status    in_progress: ${hint}\n`);
  expect((await status()).stderr).toBe(`tonight: ${hint}\n`);

  // The calls before the kill wait in Redis, or are rows already.
  const usage = (batch: string, ...more: string[]) => place.nightshift(['usage', '--batch', batch, '--json', ...more]);
  let named = await usage('tonight');
  await waitFor(async () => (named = await usage('tonight')).stdout.includes('attempts'), {
    what: 'the ledger has a call of it',
    timeoutMs: 20_000,
  });
  expectExit(named, 0);
  const { id } = (await parsed()) as { id: string };
  expect((await usage(id)).stdout).toBe(named.stdout);
  expect((await usage(id.slice(0, 14))).stdout).toBe(named.stdout);
  const unknown = await usage('tomorrow');
  expect(unknown).toMatchObject({ code: 2, stdout: '' });
  expect(unknown.stderr).toBe('nightshift: no batch "tomorrow"; the latest: tonight\n');
});

test('usage says of a batch that Redis has lost how the ledger, which still has it, is asked', async () => {
  await using server = await startRedisServer();
  const place = await createWorld({ redisUrl: server.url });
  writeInput(place, { count: 3 });
  const { batchId } = summaryOf(await place.nightshift(['run', 'in.jsonl', '--out', 'out', '--json']));
  const client = new Redis(server.url);
  await client.flushall();
  client.disconnect();
  const lost = await place.nightshift(['usage', '--batch', 'in']);
  expectExit(lost, 2);
  expect(lost.stderr).toMatch(/^nightshift: no batch "in", nor any other\nThe ledger .*usage --by batch lists them/);
  expect((await place.nightshift(['usage', '--by', 'batch'])).stdout).toContain(batchId);
  expect((await place.nightshift(['usage', '--batch', batchId])).stdout).toMatch(/Total +3 /);
});

test('a batch whose keys a person has drained says how they send again, and then goes on', async () => {
  const place = await createWorld();
  writeInput(place, { count: 5 });
  for (const key of ['a', 'b']) expectExit(await place.nightshift(['keys', 'drain', key]), 0);
  const run = ['run', 'in.jsonl', '--out', 'out', '--name', 'drained', '--json'];
  const stopped = await place.nightshift(run);
  expectExit(stopped, 4);
  expect(stopped.stderr).toMatch(/let a or b send again: nightshift keys resume a\.\nOnce that is done, type the/);
  expectExit(await place.nightshift(['keys', 'resume', 'a']), 0);
  const resumed = await place.nightshift(run);
  expectExit(resumed, 0);
  expect(summaryOf(resumed).counts.completed).toBe(5);
});

test('keys check ends with 5 when a provider cannot be reached, and with 4 when a key is refused besides', async () => {
  const place = await createPlace({
    providers: { privatemind: {}, openai: {} },
    config: { namespace },
    env: { REDIS_URL: url },
  });
  await place.simulators['openai']?.close();
  const check = ['keys', 'check', '--json'];
  const unreachable = await place.nightshift(check);
  expect(unreachable.stdout).toContain('"reason":"unreachable"');
  expectExit(unreachable, 5);
  place.control('privatemind', { change: 'revoke_key', key: 'privatemind-key' });
  const refused = await place.nightshift(check);
  expect(refused.stdout).toContain('"reason":"revoked"');
  expectExit(refused, 4);
});
