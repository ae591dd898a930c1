/** What a model would surely refuse is found by check, and by run before anything is sent. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createWorld, expectExit, readResults, type World } from '../e2e/support.ts';

/** Line 1 is good. */
function writeMistakes(world: World): void {
  const lines = [
    { prompt: 'Hi', model: 'fast' },
    { prompt: 'Hi', model: 'vision', tools: [{ type: 'function' }] },
    { prompt: 'Hi', model: 'fsat' },
    { prompt: 'Hi', model: 'vision', max_tokens: 40_000 },
    { messages: [{ role: 'robot', content: 'Hi' }], model: 'fast' },
    { prompt: ' ', model: 'fast' },
  ];
  writeFileSync(world.file('in.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

test('check asks the keys for their models, without Redis, and says by line what they would refuse', async () => {
  const world = await createWorld();
  writeMistakes(world);
  const ended = await world.nightshift(['check', 'in.jsonl']);
  expectExit(ended, 2);
  expect(ended.stdout.split('\n')).toEqual([
    expect.stringMatching(/^in\.jsonl:2: tools: pixtral-12b (does not take "tools"|has no capability)/),
    expect.stringContaining('in.jsonl:3: model: no key offers the model "fsat"; the nearest names: fast,'),
    expect.stringContaining('in.jsonl:4: prompt: the prompt'),
    expect.stringContaining('in.jsonl:5: messages[0].role: expected one of system,'),
    'in.jsonl:6: prompt: expected some text, got an empty message',
    '',
  ]);
  for (const code of ['model_not_found', 'context_too_long', 'invalid_role', 'empty_message']) {
    expect(ended.stderr).toContain(`  ${code}: 1 line\n`);
  }
  expect(ended.stderr).toContain('in.jsonl: 6 requests (1 good, 5 bad)');

  const dropping = await world.nightshift(['check', 'in.jsonl', '--drop-unsupported', '--json']);
  expect(JSON.parse(dropping.stdout)).toMatchObject({ invalid: 4, checkedAgainst: ['a', 'b'] });
  const offline = await world.nightshift(['check', 'in.jsonl', '--offline', '--json']);
  expect(JSON.parse(offline.stdout)).toMatchObject({
    invalid: 2,
    problemCounts: { invalid_role: 1, empty_message: 1 },
    checkedAgainst: [],
  });
  expect(world.truth().totals.calls).toBe(0);
  expect(existsSync(world.file('.nightshift/redis'))).toBe(false);
});

test('check goes on without the models of keys that do not answer, and says so', async () => {
  const world = await createWorld();
  writeMistakes(world);
  world.configure({ providers: { privatemind: { baseUrl: 'http://127.0.0.1:1' } } });
  const away = await world.nightshift(['check', 'in.jsonl', '--json']);
  expectExit(away, 2);
  expect(away.stderr).toMatch(/^no model listing for a, b at http:\/\/127\.0\.0\.1:1: cannot reach the provider/);
  expect(JSON.parse(away.stdout)).toMatchObject({ invalid: 2 });

  world.configure({}, { a: { secretEnv: 'NO_SUCH_SECRET' } });
  const without = await world.nightshift(['check', 'in.jsonl', '--json']);
  expectExit(without, 2);
  expect(without.stderr).toMatch(/^no key can be asked: .*NO_SUCH_SECRET/);
  expect(JSON.parse(without.stdout)).toMatchObject({ invalid: 2 });
});

test('run refuses such lines before the first cent, and ends them with --skip-invalid', async () => {
  const world = await createWorld();
  writeMistakes(world);
  const refused = await world.nightshift(['run', 'in.jsonl', '--out', 'out']);
  expectExit(refused, 2);
  expect(refused.stderr).toContain('5 of 6 lines are invalid; nothing was sent');
  expect(existsSync(world.file('out'))).toBe(false);
  expect(world.truth().totals.calls).toBe(0);

  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--skip-invalid']), 1);
  const { output, errors } = readResults(world, ['1', '2', '3', '4', '5', '6']);
  expect(output.map(({ custom_id: id }) => id)).toEqual(['1']);
  const codes = Object.fromEntries(errors.map(({ custom_id: id, error }) => [id, error?.code]));
  expect(codes).toMatchObject({ 3: 'model_not_found', 4: 'context_too_long', 5: 'invalid_role', 6: 'empty_message' });
  expect(world.truth().totals.calls).toBe(1);
});

test('run --drop-unsupported sends what check --drop-unsupported lets pass', async () => {
  const world = await createWorld();
  writeFileSync(world.file('in.jsonl'), `${JSON.stringify({ prompt: 'Hi', model: 'vision', top_k: 3 })}\n`);
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out']), 2);
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--drop-unsupported']), 0);
  expect(readFileSync(world.file('out/in.errors.jsonl'), 'utf8')).toBe('');
});
