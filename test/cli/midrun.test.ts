/** What goes wrong while a batch runs: one message, the exit code, nothing lost; put right, the same command finishes. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { createWorld, endOf, expectExit, ledgerAndTruth, readResults, summaryOf, writeInput } from '../e2e/support.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { mountSmallDisk } from '../support/small-disk.ts';
import { createBench, expectFailure } from './command.ts';

const bench = createBench();
const run = ['run', 'in.jsonl', '--out', 'out'];
const fast = { latencyMs: { min: 1, max: 5 }, outputTokens: { min: 5, max: 10 } };

test('an input file that is appended to while it is read stops the run; put back, the same command finishes', async () => {
  const world = await createWorld({ scenario: { latencyMs: { min: 20, max: 50 } } });
  const ids = writeInput(world, { count: 120 });
  const input = world.file('in.jsonl');
  // More than the 64 MiB that are between the file and the results at a time; spaces, so that the requests are small.
  writeFileSync(input, readFileSync(input, 'utf8').replaceAll('}\n', `${' '.repeat(640 * 1024)}}\n`));
  const before = readFileSync(input);
  const running = world.start([...run, '--concurrency', '5']);
  await world.untilCalls(3, running);
  appendFileSync(input, '{"custom_id":"late","model":"fast","prompt":"x"}\n');
  expectFailure(
    await endOf(running),
    2,
    /in\.jsonl changed while it was being read \(its size was/,
    'put the old file back',
  );
  truncateSync(input, before.length);
  expectExit(await world.nightshift(run), 0);
  readResults(world, ids);
  expect(world.truth().totals.answered).toBe(ids.length);
});

test('a full disk in the output directory stops the run; with room again the same command finishes, each line once', async ({
  skip,
}) => {
  const world = await createWorld({ scenario: fast });
  if (!mountSmallDisk(world.file('out'), 512)) skip();
  const ids = writeInput(world, { count: 400 });
  const ballast = world.file('out/ballast');
  // Room for some hundred of the answers.
  writeFileSync(ballast, Buffer.alloc(416 * 1024));
  const full = await world.nightshift([...run, '--json']);
  expect(summaryOf(full)).toMatchObject({ status: 'paused', stoppedBy: { code: 'disk' } });
  expectFailure(
    { ...full, stdout: '' },
    5,
    /cannot write \/.*in\.output\.jsonl: the disk is full: free some space, then run the same command/,
  );
  rmSync(ballast);
  const again = await world.nightshift([...run, '--json']);
  expectExit(again, 0);
  expect(summaryOf(again)).toMatchObject({ status: 'completed', counts: { completed: 400, failed: 0 } });
  expect(readResults(world, ids).errors).toEqual([]);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('a file that reaches the size limit of its process is as a full disk', async () => {
  const world = await createWorld({ scenario: { ...fast, outputTokens: 4000 } });
  const ids = writeInput(world, { count: 500 });
  writeFileSync(
    world.file('in.jsonl'),
    readFileSync(world.file('in.jsonl'), 'utf8').replaceAll('"max_tokens":40', '"max_tokens":4000'),
  );
  // The ledger stays below it, the answers do not; Redis is another process.
  const through = ['bash', '-c', 'ulimit -f 5120; exec "$@"', '-'];
  const secrets = Object.fromEntries(world.tokens.map((token, index) => [`KEY_${index}`, token]));
  const limited = await bench.nightshift(run, { cwd: world.dir, env: secrets, through });
  expectFailure(limited, 5, /in\.output\.jsonl: .*ulimit -f.*run the same command/);
  const unlimited = await bench.nightshift(run, { cwd: world.dir, env: secrets });
  expect(unlimited.code, unlimited.stderr).toBe(0);
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.answered).toBe(ids.length);
});

test('a Redis that goes away for good stops the run; once it is back the same command finishes', async () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-gone-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const first = await startRedisServer(['--dir', dir]);
  vi.stubEnv('NIGHTSHIFT_REDIS_PATIENCE_MS', '1500');
  onTestFinished(() => void vi.unstubAllEnvs());
  const world = await createWorld({ scenario: { latencyMs: { min: 20, max: 100 } }, redisUrl: first.url });
  const ids = writeInput(world, { count: 200 });
  const running = world.start([...run, '--concurrency', '10', '--json']);
  await world.untilCalls(40, running);
  await first.stop();
  const ended = await endOf(running);
  expectExit(ended, 5);
  expect(summaryOf(ended)).toMatchObject({
    name: 'in',
    status: 'in_progress',
    counts: { total: 200 },
    stoppedBy: { code: 'redis', cause: expect.stringContaining(first.url) },
  });
  const lost = `nightshift: lost the Redis at ${first.url}, and it does not come back; start it, then run the same command again`;
  expect(ended.stderr).toMatch(/^nightshift: Redis connection lost; reconnecting/);
  expect(ended.stderr.split('\n').slice(1)).toEqual([expect.stringContaining(lost), '']);

  const second = await startRedisServer(['--dir', dir, '--port', String(first.port)]);
  onTestFinished(() => second.stop());
  expectExit(await world.nightshift(run), 0);
  readResults(world, ids);
});

test('a batch whose last key is revoked stops, and says which key and how to go on', async () => {
  const world = await createWorld({
    keys: [{ name: 'only' }],
    scenario: { ...fast, events: [{ afterCalls: 20, do: { change: 'revoke_key', key: 'only' } }] },
  });
  writeInput(world, { count: 200 });
  const ended = await world.nightshift(run);
  expectExit(ended, 4);
  const [notice, , , , , stopped, cure] = ended.stderr.split('\n');
  expect(notice).toMatch(/^nightshift: key only is retired: .*revoked/);
  expect(stopped).toBe('Stopped: no key is left for "fast" (only revoked); put a key that works in place of only.');
  expect(cure).toBe('Once that is done, type the same command again, or: nightshift resume in');
});
