import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { waitFor } from '../support/wait.ts';
import {
  createWorld,
  endOf,
  expectExit,
  ledgerAndTruth,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
} from './support.ts';

const args = ['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '20'];

test('Ctrl-C lets the calls in flight end, says how to go on, and the same command does', async () => {
  const world = await createWorld({ scenario: { latencyMs: { min: 50, max: 300 } } });
  const ids = writeInput(world, { count: 250 });
  const run = world.start(args);
  await world.untilCalls(80, run);
  run.child.kill('SIGINT');
  const stopped = await endOf(run);
  expectExit(stopped, 130);
  expect(stopped.stderr).toContain('Stopping: calls in flight may end');
  expect(stopped.stderr).toMatch(/type the same command again, or: nightshift resume/);
  expect(summaryOf(stopped)).toMatchObject({ stoppedBy: { code: 'interrupted' }, possiblyBilled: 0 });

  // Every call was answered, and every answer is in the file.
  const atStop = world.truth().totals;
  const { counts } = summaryOf(stopped);
  expect(atStop).toMatchObject({ calls: counts.completed, answered: counts.completed, inFlight: 0 });
  expect(readResults(world, completedIds(world.file('out/in.output.jsonl'))).output).toHaveLength(counts.completed);
  expect(readManifest(world)).toMatchObject({ status: 'paused', stoppedBy: { code: 'interrupted' }, counts });

  const again = await world.nightshift(args);
  expectExit(again, 0);
  expect(again.stderr).toContain(`Going on with in: ${counts.completed} of 250 lines are done`);
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(ids.length);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('a second Ctrl-C does not wait for calls that hang, and their lines are sent again', async () => {
  const world = await createWorld({ scenario: { faults: [{ kind: 'hang', afterCalls: 30 }] } });
  const ids = writeInput(world, { count: 100 });
  // With one attempt a line: a call that we end is none of the provider's failures.
  const once = [...args, '--attempts', '1'];
  const run = world.start(once);
  const allHang = () => world.truth().totals.answered === 30 && world.truth().totals.inFlight === 20;
  await waitFor(allHang, { what: 'all calls hang' });
  run.child.kill('SIGINT');
  await run.waitForOutput(/Stopping/);
  run.child.kill('SIGINT');
  // Its 30 seconds of grace would be more than this test has.
  const stopped = await endOf(run);
  expectExit(stopped, 130);
  expect(stopped.stderr).toContain('Ending the calls in flight');
  expect(summaryOf(stopped).counts.completed).toBe(30);
  expect(readManifest(world).attempts.byErrorCode).toEqual({ aborted: 20 });

  world.simulator.control({ change: 'set_faults', faults: [] });
  expectExit(await world.nightshift(once), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
}, 28_000);

function completedIds(file: string): string[] {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return [...new Set(lines.map((line) => (JSON.parse(line) as { custom_id: string }).custom_id))];
}
