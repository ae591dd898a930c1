import { appendFileSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  createWorld,
  endOf,
  expectExit,
  ledgerAndTruth,
  makeInput,
  readResults,
  summaryOf,
  writeInput,
  type World,
} from './support.ts';

const run = ['run', 'in.jsonl', '--out', 'out'];

test('the same command after the end says so and sends nothing', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count: 30 });
  expectExit(await world.nightshift(run), 0);
  const again = await world.nightshift([...run, '--json']);
  expectExit(again, 0);
  expect(again.stderr).toContain('in is completed already; nothing was sent.');
  expect(summaryOf(again)).toMatchObject({ status: 'completed', counts: { total: 30, completed: 30, failed: 0 } });
  expect(world.truth().totals.calls).toBe(30);
  const otherwise = await world.nightshift([...run, '--ordered']);
  expectExit(otherwise, 0);
  expect(otherwise.stderr).toContain('in stays as it was begun: without --ordered.');

  // Without a batch to resume, too.
  const resumed = await world.nightshift(['resume']);
  expectExit(resumed, 2);
  expect(resumed.stderr).toContain('every batch is finished');

  // Another name, or another place, is another batch.
  expectExit(await world.nightshift([...run, '--name', 'second']), 0);
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'elsewhere']), 0);
  expect(world.truth().totals.calls).toBe(90);
  readResults(world, ids, 'second');
  readResults(world, ids, 'in', 'elsewhere');
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('the same command after an end with failed lines says so and exits with 1', async () => {
  const world = await createWorld({ scenario: { faults: [{ kind: 'status', status: 422, times: 1 }] } });
  const ids = writeInput(world, { count: 10 });
  expectExit(await world.nightshift(run), 1);
  const again = await world.nightshift(run);
  expectExit(again, 1);
  expect(again.stderr).toContain('nothing was sent');
  expect(readResults(world, ids).errors).toHaveLength(1);
  expect(world.truth().totals.calls).toBe(10);
});

/** A batch that was begun and then interrupted. */
async function interrupted(world: World, args = run): Promise<void> {
  const process = world.start([...args, '--concurrency', '5']);
  await world.untilCalls(20, process);
  process.child.kill('SIGINT');
  expectExit(await endOf(process), 130);
}

test('an input that has changed is refused, with what to do, and the old one goes on', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count: 120 });
  await interrupted(world);
  const { calls } = world.truth().totals;
  const old = readFileSync(world.file('in.jsonl'));
  appendFileSync(world.file('in.jsonl'), '{"custom_id":"more","prompt":"one more","model":"fast"}\n');
  for (const command of [run, ['resume']]) {
    const refused = await world.nightshift(command);
    expectExit(refused, 2);
    expect(refused.stderr).toMatch(/its content changed.*Put the old content back.*--name or --out/s);
  }
  expect(world.truth().totals.calls).toBe(calls);
  // The same content is the same input, whatever file it is in.
  writeFileSync(world.file('new.jsonl'), old);
  renameSync(world.file('new.jsonl'), world.file('in.jsonl'));
  expectExit(await world.nightshift(run), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('a batch of another Redis is not begun a second time, finished or not', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count: 120 });
  await interrupted(world);
  const { calls } = world.truth().totals;
  const unfinished = await world.nightshift([...run, '--data', 'other-data']);
  expectExit(unfinished, 2);
  expect(unfinished.stderr).toMatch(/which this Redis does not know.*--data/s);
  expect(world.truth().totals.calls).toBe(calls);
  expectExit(await world.nightshift(run), 0);
  const finished = await world.nightshift([...run, '--data', 'other-data']);
  expectExit(finished, 2);
  expect(finished.stderr).toMatch(/is completed, but this Redis does not know it.*--name or --out/s);
  readResults(world, ids);
  expect(world.truth().totals.calls).toBe(120);
});

test('output files that were changed or deleted meanwhile stop the batch before it sends anything', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count: 120 });
  await interrupted(world);
  const { calls } = world.truth().totals;
  const output = world.file('out/in.output.jsonl');
  const kept = readFileSync(output);
  const stops: (() => void)[] = [() => truncateSync(output, 10), () => rmSync(output)];
  for (const damage of stops) {
    damage();
    const refused = await world.nightshift(run);
    expectExit(refused, 2);
    expect(refused.stderr).toMatch(/in\.output\.jsonl.*Put it back/s);
  }
  expect(world.truth().totals.calls).toBe(calls);
  // What a crash leaves behind the committed bytes is cut off.
  writeFileSync(output, Buffer.concat([kept, Buffer.from('{"id":"torn')]));
  expectExit(await world.nightshift(run), 0);
  expect(readResults(world, ids).errors).toEqual([]);

  rmSync(output);
  const gone = await world.nightshift(run);
  expectExit(gone, 2);
  expect(gone.stderr).toMatch(/in\.output\.jsonl.*is gone.*another --name or --out/s);
  expect(world.truth().totals.calls).toBe(120);
});

test('files of somebody else are not written over', async () => {
  const world = await createWorld();
  const { text } = makeInput(5);
  writeFileSync(world.file('in.jsonl'), text);
  writeFileSync(world.file('in.output.jsonl'), 'mine\n');
  const refused = await world.nightshift(['run', 'in.jsonl']);
  expectExit(refused, 2);
  expect(refused.stderr).toMatch(/in\.output\.jsonl exists, but no /);
  writeFileSync(world.file('in.manifest.json'), '{"mine":true}');
  expectExit(await world.nightshift(['run', 'in.jsonl']), 2);
  expect(readFileSync(world.file('in.output.jsonl'), 'utf8')).toBe('mine\n');
  expect(world.truth().totals.calls).toBe(0);
});

test('a second command on a running batch is refused and does not harm the first', async () => {
  // Long enough for the second to start on a busy machine, too.
  const world = await createWorld({ scenario: { latencyMs: { min: 150, max: 250 } } });
  const ids = writeInput(world, { count: 200 });
  const first = world.start([...run, '--concurrency', '5']);
  await world.untilCalls(20, first);
  const second = await world.nightshift(run);
  expectExit(second, 2);
  expect(second.stderr).toMatch(new RegExp(`already running \\(process ${first.pid} on .*nightshift status`));
  expectExit(await endOf(first), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(200);
});

test('of two identical commands started together one runs and the other is refused', async () => {
  const world = await createWorld({ scenario: { latencyMs: { min: 40, max: 100 } } });
  const ids = writeInput(world, { count: 200 });
  const both = [world.start([...run, '--concurrency', '10']), world.start([...run, '--concurrency', '10'])];
  const ended = await Promise.all(both.map(endOf));
  const codes = ended.map(({ code }) => String(code)).toSorted();
  expect(codes, ended.map(({ stderr }) => stderr).join('\n')).toEqual(['0', '2']);
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(200);
  const status = await world.nightshift(['status', '--json']);
  expect(JSON.parse(status.stdout)).toMatchObject([{ name: 'in', status: 'completed' }]);
});
