/** The way of a table through the whole program: check, run, resume, and the table of answers. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { parse } from 'csv-parse/sync';
import { describe, expect, onTestFinished, test } from 'vitest';
import { addRowsOptions, rowsOptionsOf, type RowsFlags } from '../../src/cli/rows-options.ts';
import { createWorld, endOf, expectExit, readResults, summaryOf, writeInput, type World } from '../e2e/support.ts';

const examples = path.resolve(import.meta.dirname, '../../examples');
const words = ['--model', 'fast', '--template', 'Summarise: {{text}}', '--max-tokens', '40'];
const run = ['run', 'in.csv', '--out', 'out', ...words];

/** Rows over two physical lines each. */
function writeRows(world: World, count: number): string[] {
  const ids = Array.from({ length: count }, (_, index) => `r-${index}`);
  writeFileSync(world.file('in.csv'), `key,text\n${ids.map((id) => `${id},"text\nof ${id}"\n`).join('')}`);
  return ids;
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index + 1));

function readTable(world: World, name = 'in'): Record<string, string>[] {
  const text = readFileSync(world.file(`out/${name}.answers.csv`), 'utf8');
  return parse(text, { columns: true, record_delimiter: '\r\n' });
}

describe('check', () => {
  test('shows the first prompt, and says what is wrong by line and row', async () => {
    const world = await createWorld();
    const args = ['check', path.join(examples, 'reviews.csv'), '--model', 'fast', '--id-column', 'id'];
    const template = ['--template', `@${path.join(examples, 'template.txt')}`, '--system', 'About {{product}}.'];
    const good = await world.nightshift([...args, ...template]);
    expectExit(good, 0);
    expect(good.stdout).toBe('');
    expect(good.stderr).toContain(
      'first prompt (row 1, custom_id r-001):\n  system: About Tea kettle.\n  user: Here is',
    );
    expect(good.stderr).toContain('8 requests (all good)');

    writeFileSync(world.file('in.csv'), 'key,text\n"a\n",1\nb\n');
    const bad = await world.nightshift(['check', 'in.csv', ...words]);
    expectExit(bad, 2);
    expect(bad.stdout).toMatch(/^in\.csv:4: row 2: expected 2 values, as the header has, got 1;.*\n$/);
    const json = await world.nightshift(['check', 'in.csv', ...words, '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({
      input: 'in.csv',
      invalid: 1,
      problems: [{ line: 2, place: 'in.csv:4: row 2', code: 'wrong_field_count' }],
      firstPrompt: { row: 1, customId: '1', messages: [{ role: 'user', content: 'Summarise: 1' }] },
    });
    expect(readdirSync(world.file('.nightshift/spool'))).toEqual([]);
  });

  test('of a table says how to make prompts of it', async () => {
    const world = await createWorld();
    writeRows(world, 2);
    const ended = await world.nightshift(['check', 'in.csv']);
    expectExit(ended, 2);
    expect(ended.stderr).toContain('Its columns: key, text. Say how with --template and --model');
  });
});

describe('the options of a template', () => {
  test.each<[string, RowsFlags, string]>([
    ['no model', { template: '{{a}}' }, '--template needs a model for the requests: add --model'],
    ['no template', { maxTokens: 5 }, '--max-tokens belongs to --template, which is missing'],
    ['a bad template', { model: 'm', template: 'a {{b' }, '--template, line 1, column 3: expected {{name}}'],
    ['an empty one', { model: 'm', template: ' ' }, '--template: expected text or @file, got nothing'],
    [
      'no such file',
      { model: 'm', template: '@none.txt' },
      `--template @none.txt: there is no such file; looked for ${path.resolve('none.txt')}`,
    ],
    ['a directory', { model: 'm', template: '{{a}}', system: `@${examples}` }, 'is a directory; name the file in it'],
  ])('with %s say what to do', (_, flags, message) => {
    expect(() => rowsOptionsOf(flags)).toThrow(message);
  });

  test('are read from a file without its mark and its last line break', () => {
    const file = path.join(mkdtempSync(path.join(os.tmpdir(), 'nightshift-template-')), 'template.txt');
    onTestFinished(() => rmSync(path.dirname(file), { recursive: true }));
    writeFileSync(file, '\ufeffSay\n\n{{ a }}\n\n');
    const options = rowsOptionsOf({ model: 'm', template: `@${file}` });
    expect(options?.template.parts).toEqual(['Say\n\n', { name: 'a', place: `${file}, line 3, column 1` }, '\n']);
    expect(rowsOptionsOf({ model: 'm' })).toBeNull();
  });

  test.each([
    ['--temperature', 'hot', 'expected a number of at least 0, such as 0.7'],
    ['--max-tokens', '0', 'expected a whole number of at least 1'],
    ['--delimiter', '"', 'expected one character such as , ; | or tab'],
  ])('%s %s is refused', async (option, value, message) => {
    const command = addRowsOptions(new Command())
      .exitOverride()
      .configureOutput({ writeErr: () => {} });
    await expect(command.parseAsync([option, value], { from: 'user' })).rejects.toThrow(message);
  });
});

describe('run', () => {
  test('of a table answers every row, and --csv puts the answers beside the rows', async () => {
    const world = await createWorld({ scenario: { faults: [{ kind: 'status', status: 422, times: 2 }] } });
    const ids = writeRows(world, 60);
    const ended = await world.nightshift([...run, '--id-column', 'key', '--csv', '--json']);
    expectExit(ended, 1);
    expect(summaryOf(ended)).toMatchObject({
      name: 'in',
      counts: { total: 60, completed: 58, failed: 2 },
      answersFile: world.file('out/in.answers.csv'),
    });
    const { output, errors } = readResults(world, ids);
    const table = readTable(world);
    expect(table.map(({ key }) => key)).toEqual(ids);
    expect(table.every(({ key, text }) => text === `text\nof ${key}`)).toBe(true);
    const answers = Object.fromEntries(table.map(({ key = '', answer }) => [key, answer]));
    for (const { custom_id: id, response } of output) {
      const body = response?.body as { choices: { message: { content: string } }[] };
      expect(answers[id ?? '']).toBe(body.choices[0]?.message.content);
    }
    const failed = table.filter(({ error }) => error !== '').map(({ key }) => key);
    expect(failed).toEqual(errors.map(({ custom_id: id }) => id).toSorted((a, b) => ids.indexOf(a!) - ids.indexOf(b!)));
    const cost = table.reduce((sum, row) => sum + Number(row['cost_usd']), 0);
    expect(cost).toBeCloseTo(summaryOf(ended).costUsd, 9);
  });

  test('sends the good rows with --skip-invalid, and has the others in the error file and in the table', async () => {
    const world = await createWorld();
    writeFileSync(world.file('in.jsonl'), '{"text":"a","n":1}\n\n{"txt":"b"}\n{"text":\n{"text":"c"}\n');
    const args = ['run', 'in.jsonl', '--out', 'out', ...words];
    const refused = await world.nightshift(args);
    expectExit(refused, 2);
    expect(refused.stderr).toMatch(
      /2 of 4 lines are invalid; nothing was sent:\n {2}in\.jsonl:3: text: .*\n {2}in\.jsonl:4: /,
    );
    expectExit(await world.nightshift([...args, '--skip-invalid', '--csv']), 1);
    const { output, errors } = readResults(
      world,
      ['1', '3', 'null', '5'].map((id) => (id === '3' ? 'null' : id)),
    );
    expect(output).toHaveLength(2);
    expect(errors.map(({ error }) => String(error?.code)).toSorted()).toEqual([
      'invalid_request:invalid_json_line',
      'invalid_request:missing_value',
    ]);
    expect(
      readTable(world).map(({ text, n, txt, answer, error }) => [text, n, txt, answer !== '', error !== '']),
    ).toEqual([
      ['a', '1', '', true, false],
      ['', '', 'b', false, true],
      ['', '', '', false, true],
      ['c', '', '', true, false],
    ]);
  });

  test('begins nothing for a table without a template', async () => {
    const world = await createWorld();
    writeRows(world, 2);
    const ended = await world.nightshift(['run', 'in.csv', '--model', 'fast']);
    expectExit(ended, 2);
    expect(ended.stderr).toContain("for example: --template 'Summarise: {{key}}' --model fast");
    expect(world.truth().totals.calls).toBe(0);
  });

  test('of requests with --csv has a table, too, also when it is asked for after the end', async () => {
    const world = await createWorld();
    const ids = writeInput(world, { count: 20 });
    const args = ['run', 'in.jsonl', '--out', 'out'];
    expectExit(await world.nightshift(args), 0);
    expect(readdirSync(world.file('out')).filter((name) => name.endsWith('.csv'))).toEqual([]);
    const again = await world.nightshift([...args, '--csv']);
    expectExit(again, 0);
    expect(again.stderr).toMatch(/completed already; nothing was sent[^]* answers +\S+in\.answers\.csv/);
    expect(readTable(world).map((row) => row['custom_id'])).toEqual(ids);
    expect(world.truth().totals.calls).toBe(20);
  });

  test('does not write its table over a file of somebody else', async () => {
    const world = await createWorld();
    writeRows(world, 2);
    mkdirSync(world.file('out'));
    writeFileSync(world.file('out/in.answers.csv'), 'mine');
    const ended = await world.nightshift([...run, '--csv']);
    expectExit(ended, 2);
    expect(ended.stderr).toContain('in.answers.csv exists');
    expect(readFileSync(world.file('out/in.answers.csv'), 'utf8')).toBe('mine');
  });
});

describe('a batch of rows that stopped', () => {
  async function interrupted(world: World, args: string[]): Promise<void> {
    const process = world.start([...args, '--concurrency', '5']);
    await world.untilCalls(20, process);
    process.child.kill('SIGINT');
    expectExit(await endOf(process), 130);
  }

  test('goes on by resume with what was rendered, whatever became of the rows', async () => {
    const world = await createWorld();
    const ids = writeRows(world, 120);
    await interrupted(world, [...run, '--id-column', 'key', '--csv']);
    writeFileSync(world.file('in.csv'), 'key,text\nother,rows\n');
    // The other rows are another batch, and not to be mixed with this one.
    const other = await world.nightshift([...run, '--id-column', 'key', '--csv']);
    expectExit(other, 2);
    expect(other.stderr).toContain('(its content, the template or one of its options changed)');
    const resumed = await world.nightshift(['resume']);
    expectExit(resumed, 0);
    expect(resumed.stderr).toContain('The requests are those made of in.csv when the batch began.');
    readResults(world, ids);
    expect(readTable(world).map(({ key }) => key)).toEqual(ids);
    expect(world.truth().totals.calls).toBe(120);
  });

  test('goes on by the same command, also when the rendered file is gone', async () => {
    const world = await createWorld();
    writeRows(world, 120);
    await interrupted(world, run);
    const spool = world.file('.nightshift/spool');
    const [rendered = ''] = readdirSync(spool).filter((name) => name.endsWith('.jsonl'));
    const before = readFileSync(path.join(spool, rendered), 'utf8');
    rmSync(path.join(spool, rendered));
    const resumed = await world.nightshift(['resume']);
    expectExit(resumed, 2);
    expect(resumed.stderr).toMatch(
      /the requests that were made of in\.csv, is gone\. Type the command that began "in" again/,
    );
    // The rows lie elsewhere now, too; the name of the batch is what counts.
    renameSync(world.file('in.csv'), world.file('moved.csv'));
    const moved = run.map((word) => (word === 'in.csv' ? 'moved.csv' : word));
    expectExit(await world.nightshift([...moved, '--name', 'in']), 0);
    expect(readFileSync(path.join(spool, rendered), 'utf8')).toBe(before);
    expect(readResults(world, numbers(120)).errors).toEqual([]);
    expect(world.truth().totals.calls).toBe(120);
  });
});
