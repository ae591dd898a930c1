import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parse } from 'csv-parse/sync';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answerCells, withoutFormula } from '../../src/batch/answer-cells.ts';
import { answersFileOf, writeAnswersCsv } from '../../src/batch/answers-csv.ts';
import { putInOrder } from '../../src/batch/ordered.ts';
import { errorLine, outputLine } from '../../src/batch/result-line.ts';
import type { RowsFile } from '../../src/batch/rows.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-answers-'));
});
afterEach(() => rm(directory, { recursive: true }));

const keep = (text: string) => text;
const options = {
  model: null,
  attempts: 1,
  deadlineMs: 1,
  skipInvalid: true,
  pinModels: false,
  stream: false,
  dropUnsupported: false,
  ordered: false,
};

function answered(line: number, content: unknown, more: Record<string, unknown> = {}): string {
  const usage = { prompt_tokens: 3, completion_tokens: 4, cost_usd: 0.00000125 };
  const body = { model: 'm-1', choices: [{ message: { content }, finish_reason: 'stop' }], usage, ...more };
  return outputLine(`batch_x-${line}.a0`, `id-${line}`, { status: 200, requestId: null, body: JSON.stringify(body) });
}

function failed(line: number, code = 'bad', message = 'it "failed"', id: string | null = `id-${line}`): string {
  return errorLine(`batch_x-${line}`, id, { code, message, line }, null, keep);
}

async function table(
  results: { output: string[]; errors: string[] },
  rows: (Partial<RowsFile> & { text: string }) | null,
) {
  const file = (name: string) => path.join(directory, name);
  await writeFile(file('X.output.jsonl'), results.output.map((line) => `${line}\n`).join(''));
  await writeFile(file('X.errors.jsonl'), results.errors.map((line) => `${line}\n`).join(''));
  const { text = '', ...given } = rows ?? {};
  const kept: RowsFile = {
    path: file('kept'),
    source: 'X.csv',
    compressed: false,
    format: 'csv',
    delimiter: ',',
    ...given,
  };
  if (rows) await writeFile(kept.path, text);
  const batch = {
    name: 'X',
    outputFile: file('X.output.jsonl'),
    errorFile: file('X.errors.jsonl'),
    options: { ...options, csv: true, rows: rows ? kept : null },
  };
  await writeAnswersCsv(batch, {});
  return readFile(answersFileOf(batch), 'utf8');
}

const read = (text: string, delimiter = ',') => parse(text, { delimiter, bom: true, record_delimiter: '\r\n' });

describe('the table of answers', () => {
  it('has every row of the input in its order, all its columns, and ours behind them', async () => {
    const text = await table(
      { output: [answered(3, 'third,\nsays "it"'), answered(1, 'first')], errors: [failed(2)] },
      { text: 'id,text\na,"x\ny"\nb\nc,  z\n' },
    );
    expect(read(text)).toEqual([
      ['id', 'text', 'answer', 'model', 'finish_reason', 'error', 'input_tokens', 'output_tokens', 'cost_usd'],
      ['a', 'x\ny', 'first', 'm-1', 'stop', '', '3', '4', '0.00000125'],
      ['b', '', '', '', '', 'bad: it "failed"', '', '', ''],
      ['c', '  z', 'third,\nsays "it"', 'm-1', 'stop', '', '3', '4', '0.00000125'],
    ]);
    expect(text.split('\r\n')).toHaveLength(5);
    expect((await readdir(directory)).filter((name) => name.includes('tmp'))).toEqual([]);
  });

  it('of requests has the custom_id and ours', async () => {
    const text = await table(
      { output: [answered(4, 'b'), answered(2, 'a')], errors: [failed(3, 'x', 'y', null)] },
      null,
    );
    expect(read(text).map(([id, answer, , , error]) => [id, answer, error])).toEqual([
      ['custom_id', 'answer', 'error'],
      ['id-2', 'a', ''],
      ['', '', 'x: y'],
      ['id-4', 'b', ''],
    ]);
  });

  it('of JSONL rows has the fields of all of them as columns', async () => {
    const text = await table(
      { output: [answered(1, 'p'), answered(3, 'q')], errors: [failed(4)] },
      { text: '{"a":1,"b":{"c":[2]}}\n\n{"d":"x","a":null}\n{"a":\n', format: 'jsonl', delimiter: '' },
    );
    expect(read(text).map((cells) => cells.slice(0, 4))).toEqual([
      ['a', 'b', 'd', 'answer'],
      ['1', '{"c":[2]}', '', 'p'],
      ['', '', 'x', 'q'],
      ['', '', '', ''],
    ]);
  });

  it('has one column for the row where JSONL rows have too many fields', async () => {
    const row = JSON.stringify(Object.fromEntries(Array.from({ length: 1001 }, (_, index) => [`f${index}`, index])));
    const text = await table(
      { output: [answered(1, 'p')], errors: [] },
      { text: `${row}\n`, format: 'jsonl', delimiter: '' },
    );
    expect(read(text).map((cells) => cells.slice(0, 2))).toEqual([
      ['row', 'answer'],
      [row, 'p'],
    ]);
  });

  it('gives way to columns that have its names', async () => {
    const rows = { text: 'question,answer,nightshift_answer,model\nq,a,b,m\n' };
    const [head] = read(await table({ output: [answered(1, 'x')], errors: [] }, rows));
    expect(head?.slice(4, 6)).toEqual(['nightshift_nightshift_answer', 'nightshift_model']);
  });

  it('follows the semicolon and the byte order mark of the rows', async () => {
    const text = await table(
      { output: [answered(1, 'x;y')], errors: [] },
      { text: '\ufeffa;b\r\n1;2\r\n', delimiter: ';' },
    );
    expect(text.startsWith('\ufeffa;b;answer;')).toBe(true);
    expect(read(text, ';')[1]?.slice(0, 3)).toEqual(['1', '2', 'x;y']);
    const tabs = await table({ output: [answered(1, 'x')], errors: [] }, { text: 'a\tb\n1\t2\n', delimiter: '\t' });
    expect(tabs.startsWith('a,b,answer,')).toBe(true);
  });

  it('leaves what is there when it cannot be made, and says how to get it', async () => {
    await expect(
      table({ output: [], errors: [] }, { text: '', path: path.join(directory, 'none', 'kept') }),
    ).rejects.toThrow();
    const lost = {
      name: 'X',
      outputFile: path.join(directory, 'X.output.jsonl'),
      errorFile: path.join(directory, 'X.errors.jsonl'),
      options: {
        ...options,
        csv: true,
        rows: { path: '/nowhere', source: 'X.csv', compressed: false, format: 'csv' as const, delimiter: ',' },
      },
    };
    await expect(writeAnswersCsv(lost, {})).rejects.toThrow(
      /\/nowhere, the copy of X\.csv that X\.answers\.csv is made of, is gone.*type the command that began the batch again/,
    );
  });

  it('has one row for each line, whatever the order of the results, and so has the ordered file', async () => {
    const lines = fc.uniqueArray(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(lines, fc.integer({ min: 0, max: 60 }), async (order, split) => {
        const long = 'é'.repeat(30_000);
        const output = order.slice(split).map((line) => answered(line, `${line}${line % 7 === 0 ? long : ''}`));
        const text = await table({ output, errors: order.slice(0, split).map((line) => failed(line)) }, null);
        const ids = read(text)
          .slice(1)
          .map(([id]) => id);
        const sorted = order.toSorted((a, b) => a - b);
        expect(ids).toEqual(sorted.map((line) => `id-${line}`));
        const file = path.join(directory, 'X.output.jsonl');
        await putInOrder(file);
        const expected = order.slice(split).toSorted((a, b) => a - b);
        const found = (await readFile(file, 'utf8')).split('\n').slice(0, -1);
        expect(found.map((line) => (JSON.parse(line) as { custom_id: string }).custom_id)).toEqual(
          expected.map((line) => `id-${line}`),
        );
      }),
      { numRuns: 20 },
    );
  });
});

describe('the cells of an answer', () => {
  const cellsOf = (content: unknown, more = {}) => answerCells(answered(1, content, more), {}).ours;

  it('are the text, or the parts of it, or the refusal, or the calls of tools', () => {
    expect(cellsOf('hello')[0]).toBe('hello');
    expect(
      cellsOf([
        { type: 'text', text: 'a' },
        { type: 'text', text: 'b' },
      ])[0],
    ).toBe('ab');
    expect(cellsOf(null, { choices: [{ message: { content: null, refusal: 'I may not' } }] })[0]).toBe('I may not');
    const calls = [{ id: 'c', function: { name: 'f', arguments: '{}' } }];
    expect(cellsOf(null, { choices: [{ message: { content: null, tool_calls: calls } }] })[0]).toBe(
      JSON.stringify(calls),
    );
    expect(cellsOf(null, { choices: 'odd', model: 5, usage: null })).toEqual(['', '5', '', '', '', '', '']);
  });

  it('have the cost by the provider’s figure, else by the configured price, else none', () => {
    const usage = { prompt_tokens: 1000, completion_tokens: 500 };
    const prices = { 'm-1': { inputUsdPerMTok: 1, outputUsdPerMTok: 2 } };
    const cost = (line: string, of = {}) => answerCells(line, of).ours[6];
    expect(cost(answered(1, 'x'), prices)).toBe('0.00000125');
    expect(cost(answered(1, 'x', { usage }), prices)).toBe('0.002');
    expect(cost(answered(1, 'x', { usage }))).toBe('');
    expect(cost(answered(1, 'x', { usage: { ...usage, cost_usd: 0 } }))).toBe('0');
  });

  it.each([
    ['=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'],
    ['@SUM(1)', "'@SUM(1)"],
    ['+1+cmd', "'+1+cmd"],
    ['- a list', "'- a list"],
    ['\t=1', "'\t=1"],
    ['\n=1', "'\n=1"],
    ['＝1', "'＝1"],
    ['-5', '-5'],
    ['+1.5e3', '+1.5e3'],
    ['a=b', 'a=b'],
    ['', ''],
    ['\0', '\ufffd'],
  ])('%j of a provider is written as %j', (cell, written) => {
    expect(withoutFormula(cell)).toBe(written);
  });
});
