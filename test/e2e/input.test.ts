import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import {
  createWorld,
  endOf,
  expectExit,
  ledgerAndTruth,
  makeInput,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
} from './support.ts';

test('a gzipped input is read as it is', async () => {
  const world = await createWorld();
  const { ids, text } = makeInput(100);
  writeFileSync(world.file('in.jsonl.gz'), gzipSync(text));
  expectExit(await world.nightshift(['run', 'in.jsonl.gz', '--out', 'out']), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(100);
});

test('standard input is a batch that the same command goes on with', async () => {
  const world = await createWorld();
  const { ids, text } = makeInput(120);
  const args = ['run', '-', '--out', 'out', '--name', 'piped', '--concurrency', '5'];
  const first = world.start(args);
  first.child.stdin.end(text);
  await world.untilCalls(20, first);
  first.child.kill('SIGINT');
  expectExit(await endOf(first), 130);
  const other = await world.nightshift(args, { stdin: makeInput(3).text });
  expectExit(other, 2);
  expect(other.stderr).toContain('its content changed');
  expectExit(await world.nightshift(args, { stdin: text }), 0);
  expect(readResults(world, ids, 'piped').errors).toEqual([]);
  expect(world.truth().totals.calls).toBe(120);
});

test('--ordered puts the output into the order of the input', async () => {
  const world = await createWorld({ scenario: { faults: [{ kind: 'status', status: 422, rate: 0.1 }] } });
  const ids = writeInput(world, { count: 200 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--ordered']), 1);
  const { output, errors } = readResults(world, ids);
  expect(errors.length).toBeGreaterThan(0);
  const order = (lines: typeof output) => lines.map(({ custom_id: id }) => String(id));
  expect(order(output)).toEqual(order(output).toSorted());
  expect(order(errors)).toEqual(order(errors).toSorted());
});

test('bad lines are refused before anything is sent; with --skip-invalid they are in the error file', async () => {
  const world = await createWorld();
  const { ids, text } = makeInput(40);
  const bad = [
    '{"custom_id":"torn","body":',
    '{"custom_id":"no-prompt","model":"fast"}',
    '{"custom_id":"odd","prompt":"hello","model":"fast","temprature":1}',
    '{"custom_id":"line-00007","prompt":"the same id again","model":"fast"}',
    '{"custom_id":"lost","prompt":"hello","model":"no-such-model"}',
  ];
  writeFileSync(world.file('in.jsonl'), `${text}${bad.join('\n')}\n\n`);
  const refused = await world.nightshift(['run', 'in.jsonl', '--out', 'out']);
  expectExit(refused, 2);
  expect(refused.stderr).toMatch(/5 of 45 lines are invalid; nothing was sent.*in\.jsonl:41:.*--skip-invalid/s);
  expect(world.truth().totals.calls).toBe(0);

  const skipping = await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--skip-invalid', '--json']);
  expectExit(skipping, 1);
  expect(summaryOf(skipping).counts).toEqual({ total: 45, completed: 40, failed: 5 });
  // Of a line that is no JSON the id is not known.
  const { output, errors } = readResults(world, [...ids, 'null', 'no-prompt', 'odd', 'line-00007', 'lost']);
  expect(output).toHaveLength(40);
  const codes = Object.fromEntries(errors.map(({ error }) => [error?.line, error?.code]));
  expect(codes).toEqual({
    41: 'invalid_request:invalid_json_line',
    42: 'invalid_request:missing_required_parameter',
    43: 'invalid_request:unknown_parameter',
    44: 'invalid_request:duplicate_custom_id',
    45: 'model_not_found',
  });
  expect(world.truth().totals.calls).toBe(40);
});

test('a line of other white space than blanks, tabs and carriage returns is a bad line, which ends in the error file', async () => {
  const world = await createWorld();
  const { ids, text } = makeInput(3);
  const white = ['\f', '\v', '\u00a0', '\ufeff', '\u2028', ' \u00a0\t'];
  // In the middle of a chunk of lines, and as one where nothing else is left to do.
  writeFileSync(world.file('in.jsonl'), `${white.join('\n')}\n\n \t\r\n${text}${white.join('\n')}\n`);
  const run = world.start(['run', 'in.jsonl', '--out', 'out', '--skip-invalid', '--json']);
  const ended = await endOf(run);
  expectExit(ended, 1);
  expect(summaryOf(ended).counts).toEqual({ total: 15, completed: 3, failed: 12 });
  const { errors } = readResults(world, [...ids, ...Array.from({ length: 12 }, () => 'null')]);
  expect(errors.map(({ error }) => error?.line).toSorted((a = 0, b = 0) => a - b)).toEqual([
    1, 2, 3, 4, 5, 6, 12, 13, 14, 15, 16, 17,
  ]);
  expect(new Set(errors.map(({ error }) => error?.code))).toEqual(new Set(['invalid_request:invalid_json_line']));
});

test('--model serves the lines that name none', async () => {
  const world = await createWorld();
  const lines = [{ prompt: 'without a model' }, { prompt: 'with one', model: 'pixtral-12b' }];
  writeFileSync(world.file('in.jsonl'), `${lines.map((line) => JSON.stringify(line)).join('\n')}\n`);
  const refused = await world.nightshift(['run', 'in.jsonl', '--out', 'out']);
  expectExit(refused, 2);
  expect(refused.stderr).toContain('--model');
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--model', 'reasoning']), 0);
  readResults(world, ['1', '2']);
  expect(
    readManifest(world)
      .models.map(({ requested, resolved }) => `${requested} → ${resolved}`)
      .toSorted(),
  ).toEqual(['pixtral-12b → pixtral-12b', 'reasoning → deepseek-v4-pro']);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});
