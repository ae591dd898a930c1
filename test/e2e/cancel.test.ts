import { readFileSync, statSync } from 'node:fs';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { createNames } from '../../src/redis/names.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { waitFor } from '../support/wait.ts';
import {
  countByOutcome,
  createWorld,
  endOf,
  expectExit,
  ledgerAndTruth,
  readLedger,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
  type World,
} from './support.ts';

const run = ['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '20'];
/** A window lasts as long as a test may: what is sent is sent at once, and the rest waits. */
const limited = { keys: [{ name: 'a', rpm: 80 }], windowMs: 60_000, scenario: { latencyMs: { min: 50, max: 200 } } };

/** Every line once; the failed ones are all cancelled, and the manifest says the same. */
function expectCancelled(world: World, ids: string[]) {
  const { output, errors } = readResults(world, ids);
  expect(errors.every(({ error, response }) => error?.code === 'cancelled' && response === null)).toBe(true);
  const counts = { total: ids.length, completed: output.length, failed: errors.length };
  const manifest = readManifest(world);
  expect(manifest).toMatchObject({
    status: 'cancelled',
    stoppedBy: null,
    counts,
    errorCodes: { cancelled: errors.length },
  });
  return counts;
}

test('a batch that runs is cancelled: calls in flight are kept, nothing more is sent, every other line ends as cancelled', async () => {
  const world = await createWorld(limited);
  const ids = writeInput(world, { count: 400 });
  const running = world.start(run);
  await world.untilCalls(70, running);
  const cancelled = await world.nightshift(['cancel', 'in', '--json']);
  expectExit(cancelled, 0);
  const ended = await endOf(running);
  expectExit(ended, 1);
  expect(ended.stderr).toContain('nightshift retry in');

  const counts = expectCancelled(world, ids);
  expect(counts.completed).toBeGreaterThanOrEqual(70);
  expect(counts.failed).toBeGreaterThanOrEqual(320);
  for (const said of [cancelled, ended]) {
    expect(summaryOf(said)).toMatchObject({ status: 'cancelled', counts, possiblyBilled: 0, stoppedBy: null });
  }
  // Every call was answered and is in the output file, paid once.
  expect(world.truth().totals).toMatchObject({ calls: counts.completed, answered: counts.completed, inFlight: 0 });
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);

  // Again, harmless; and the command that began it says how things stand.
  const twice = await world.nightshift(['cancel', 'in']);
  expectExit(twice, 0);
  expect(twice.stderr).toContain('was cancelled already');
  const again = await world.nightshift(run);
  expectExit(again, 1);
  expect(again.stderr).toMatch(/in was cancelled; nothing was sent.*another --name or --out/s);
  expect(world.truth().totals.calls).toBe(counts.completed);
  expectCancelled(world, ids);
  const status = await world.nightshift(['status', 'in']);
  expect(status.stdout).toMatch(/status +cancelled/);
});

test('workers on other machines send nothing more for a cancelled batch', async () => {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  const world = await createWorld({ ...limited, windowMs: 6000, redisUrl: server.url });
  const ids = writeInput(world, { count: 400 });
  const worker = world.start(['worker', '--concurrency', '10']);
  await worker.waitForOutput(/Worker .* 10 calls at once/);
  const running = world.start([...run, '--no-worker']);
  await world.untilCalls(40, running);
  expectExit(await world.nightshift(['cancel', 'in']), 0);
  expectExit(await endOf(running), 1);
  const counts = expectCancelled(world, ids);
  expect(world.truth().totals).toMatchObject({ calls: counts.completed, inFlight: 0 });

  // It is free for the next batch, at once: nothing of the old one sits in it.
  const more = writeInput(world, { count: 30, name: 'more.jsonl' });
  expectExit(await world.nightshift(['run', 'more.jsonl', '--out', 'out', '--no-worker']), 0);
  readResults(world, more, 'more');
  worker.child.kill('SIGTERM');
  expectExit(await endOf(worker), 0);
  expect(world.truth().totals.calls).toBe(counts.completed + more.length);
});

test('a batch whose run was killed is cancelled by the command itself, and a kill of that is made good by the next', async () => {
  const world = await createWorld(limited);
  const ids = writeInput(world, { count: 10_000 });
  const running = world.start(run);
  await world.untilCalls(40, running);
  await running.kill('SIGKILL');
  const calls = () => world.truth().totals.calls;
  await waitFor(() => world.truth().totals.inFlight === 0, { what: 'the provider has nothing in flight' });
  const before = calls();

  const cancelling = world.start(['cancel', 'in']);
  const size = () => statSync(world.file('out/in.errors.jsonl'), { throwIfNoEntry: false })?.size ?? 0;
  await waitFor(() => size() > 50_000, { timeoutMs: 30_000, what: 'error lines are being written' });
  await cancelling.kill('SIGKILL');
  const status = await world.nightshift(['status', 'in', '--json']);
  expect(JSON.parse(status.stdout)).toMatchObject({ status: 'cancelling' });
  // As well by the command that began it, which sends nothing for it.
  expectExit(await world.nightshift(['resume', 'in']), 1);
  const counts = expectCancelled(world, ids);
  expect(counts.failed).toBeGreaterThanOrEqual(10_000 - 80);
  expect(calls()).toBe(before);
  const { completed = 0, unknown = 0 } = countByOutcome(readLedger(world));
  expect(completed).toBe(counts.completed);
  expect(unknown).toBeLessThanOrEqual(20);
});

test('a run that is killed while it cancels is replaced by the command that waits for it', async () => {
  const world = await createWorld({ scenario: { faults: [{ kind: 'hang', afterCalls: 30 }] } });
  const ids = writeInput(world, { count: 200 });
  const running = world.start(run);
  const allHang = () => world.truth().totals.answered === 30 && world.truth().totals.inFlight === 20;
  await waitFor(allHang, { timeoutMs: 20_000, what: 'all calls hang' });
  const cancelling = world.start(['cancel', 'in', '--json']);
  await cancelling.waitForOutput(/The process that runs it/);
  await running.kill('SIGKILL');
  const cancelled = await endOf(cancelling);
  expectExit(cancelled, 0);
  expect(cancelled.stderr).toMatch(/The process that runs it.*\nIt has ended; this command writes down the rest\./);
  // Nobody will ever see the answers to those calls.
  expect(summaryOf(cancelled)).toMatchObject({ status: 'cancelled', possiblyBilled: 20 });
  expect(expectCancelled(world, ids)).toMatchObject({ completed: 30, failed: 170 });
  expect(countByOutcome(readLedger(world))).toEqual({ completed: 30, unknown: 20 });
});

test('a finished batch leaves no stream in Redis, and one whose setup was killed is told to be run again', async () => {
  const server = await startRedisServer();
  const client = new Redis(server.url);
  onTestFinished(async () => {
    client.disconnect();
    await server.stop();
  });
  const world = await createWorld({ redisUrl: server.url });
  writeInput(world, { count: 5 });
  const { batchId } = summaryOf(await world.nightshift(run));
  const names = createNames('nightshift');
  expect(await client.exists(names.ledger(batchId), names.results(batchId), names.attempts(batchId))).toBe(0);
  expect(await client.ttl(names.done(batchId))).toBeGreaterThan(0);

  await client.hset(names.batch(batchId), { status: 'validating' });
  const early = await world.nightshift(['cancel', 'in']);
  expectExit(early, 2);
  expect(early.stderr).toMatch(/its command is gone: run it again, or move .*manifest\.json away/);
});

test('a batch that is completed is not cancelled, and one that nobody knows is named', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count: 20 });
  expectExit(await world.nightshift(run), 0);
  const files = () => ['output.jsonl', 'errors.jsonl'].map((end) => readFileSync(world.file(`out/in.${end}`), 'utf8'));
  const before = files();
  const late = await world.nightshift(['cancel', 'in', '--json']);
  expectExit(late, 0);
  expect(late.stderr).toContain('in is completed; there is nothing to cancel');
  expect(summaryOf(late)).toMatchObject({ status: 'completed', counts: { completed: ids.length } });
  expect(files()).toEqual(before);
  const unknown = await world.nightshift(['cancel', 'other']);
  expectExit(unknown, 2);
  expect(unknown.stderr).toContain('no batch "other"');
  // What every id begins with names none.
  for (const name of ['', 'b', 'batch_']) {
    const vague = await world.nightshift(['cancel', name]);
    expectExit(vague, 2);
    expect(vague.stderr).toContain(`no batch "${name}"`);
  }
});
