import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { waitFor } from '../support/wait.ts';
import {
  countByOutcome,
  createWorld,
  endOf,
  expectExit,
  readLedger,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
  type World,
} from './support.ts';

const run = ['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '20'];
const retry = ['retry', 'in', '--json', '--concurrency', '20'];
/** Every other call fails, for good. */
const faulty = { faults: [{ kind: 'status' as const, status: 422, rate: 0.5 }] };

const mend = (world: World) => world.simulator.control({ change: 'set_faults', faults: [] });

async function finishedWithFailures(count: number) {
  const world = await createWorld({ scenario: { ...faulty, latencyMs: { min: 5, max: 60 } } });
  const ids = writeInput(world, { count });
  expectExit(await world.nightshift(run), 1);
  const { output, errors } = readResults(world, ids);
  expect(errors.length).toBeGreaterThan(0);
  mend(world);
  return { world, ids, completed: output.length, failed: errors.length };
}

test('the failed lines of a finished batch are sent once more, and the ledger keeps both histories', async () => {
  const { world, ids, completed, failed } = await finishedWithFailures(200);
  const untouched = readFileSync(world.file('out/in.output.jsonl'), 'utf8');
  const calls = () => world.truth().totals.calls;
  const before = calls();
  const retried = await world.nightshift(retry);
  expectExit(retried, 0);
  expect(retried.stderr).toContain(`Trying ${failed} of 200 lines of in once more`);
  expect(summaryOf(retried)).toMatchObject({ status: 'completed', counts: { total: 200, completed: 200, failed: 0 } });
  expect(calls() - before).toBe(failed);
  expect(readResults(world, ids).errors).toEqual([]);
  // What was complete was not touched.
  expect(readFileSync(world.file('out/in.output.jsonl'), 'utf8').startsWith(untouched)).toBe(true);
  expect(readManifest(world)).toMatchObject({
    status: 'completed',
    counts: { completed: 200, failed: 0 },
    errorCodes: {},
  });
  expect(countByOutcome(readLedger(world))).toEqual({ completed: completed + failed, rejected: failed });

  const done = await world.nightshift(retry);
  expectExit(done, 2);
  expect(done.stderr).toContain('every line is completed');
  expect(existsSync(world.file('out/.in.errors.jsonl.before-retry'))).toBe(false);
});

test('lines that fail again are in the error file once, and invalid ones stay there unsent', async () => {
  const world = await createWorld({ scenario: faulty });
  const ids = writeInput(world, { count: 60 });
  const repeated = JSON.stringify({ custom_id: ids[0], prompt: 'The same id again?', model: 'fast' });
  await appendFile(world.file('in.jsonl'), `${repeated}\n{"custom_id":"bad","model":"fast","prompt":7}\n`);
  expectExit(await world.nightshift([...run, '--skip-invalid', '--ordered']), 1);
  const all = [...ids, ids[0] as string, 'bad'];
  const failed = readResults(world, all).errors.length - 2;
  const before = world.truth().totals.calls;
  expectExit(await world.nightshift(retry), 1);
  expect(world.truth().totals.calls - before).toBe(failed);
  const { output, errors } = readResults(world, all);
  const codes = errors.map(({ error }) => error?.code);
  expect(codes).toEqual(
    expect.arrayContaining(['invalid_request:duplicate_custom_id', 'invalid_request:invalid_value']),
  );
  expect(readManifest(world).counts).toEqual({ total: 62, completed: output.length, failed: errors.length });

  mend(world);
  expectExit(await world.nightshift(retry), 1);
  const last = readResults(world, all);
  expect(last.errors).toHaveLength(2);
  // In the input's order, as the batch was asked for.
  expect(last.output.map(({ custom_id: id }) => id)).toEqual(ids);
  const nothing = await world.nightshift(retry);
  expectExit(nothing, 2);
  expect(nothing.stderr).toContain('invalid');
});

test('the lines of a cancelled batch are sent after all', async () => {
  const world = await createWorld({ keys: [{ name: 'a', rpm: 40 }], windowMs: 1500 });
  const ids = writeInput(world, { count: 160 });
  const running = world.start(run);
  await world.untilCalls(30, running);
  expectExit(await world.nightshift(['cancel', 'in']), 0);
  expectExit(await endOf(running), 1);
  expectExit(await world.nightshift(retry), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(ids.length);
});

test('killed at any moment, the same command goes on: each line once', async () => {
  const { world, ids, completed } = await finishedWithFailures(400);
  // Before anything of it is written, in its beginning, and while it sends.
  for (const moment of [/^$/, /once more/, null]) {
    const before = world.truth().totals.calls;
    const retrying = world.start(retry);
    if (moment) await waitFor(() => moment.test(retrying.stderr()) || retrying.stderr() !== '');
    else await world.untilCalls(before + 40, retrying);
    await retrying.kill('SIGKILL');
  }
  expectExit(await world.nightshift(['retry', 'in', '--json']), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const rows = countByOutcome(readLedger(world));
  expect(rows).toMatchObject({ completed: ids.length, rejected: ids.length - completed });
});

test('a crash in its beginning, before Redis knows of it, leaves the batch as it was, whichever command finds it', async () => {
  const { world, ids, completed } = await finishedWithFailures(80);
  const [output, errors, aside] = ['in.output.jsonl', 'in.errors.jsonl', '.in.errors.jsonl.before-retry'].map((name) =>
    world.file(`out/${name}`),
  ) as [string, string, string];
  const before = [readFileSync(output, 'utf8'), readFileSync(errors, 'utf8')];
  const crash = () => {
    writeFileSync(aside, before[1] as string);
    writeFileSync(errors, '');
    // Written by a retry of which Redis, after a power cut, knows nothing.
    writeFileSync(output, `${before[0]}${'x'.repeat(1000)}\n`);
  };
  crash();
  expectExit(await world.nightshift(run), 1);
  expect([readFileSync(output, 'utf8'), readFileSync(errors, 'utf8')]).toEqual(before);
  expect(existsSync(aside)).toBe(false);
  crash();
  expectExit(await world.nightshift(retry), 0);
  expect(readResults(world, ids).output).toHaveLength(80);
  expect(world.truth().totals.answered).toBe(80);
  expect(completed).toBeLessThan(80);
});

test('an unfinished batch is not one to retry', async () => {
  const world = await createWorld({ keys: [{ name: 'a', rpm: 40 }], windowMs: 60_000 });
  writeInput(world, { count: 100 });
  const running = world.start(run);
  await world.untilCalls(20, running);
  running.child.kill('SIGINT');
  expectExit(await endOf(running), 130);
  const early = await world.nightshift(retry);
  expectExit(early, 2);
  expect(early.stderr).toContain('nightshift resume in');
});
