import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { csvCell } from '../../src/batch/csv.ts';
import { identifyRows, readColumns, readRows, type Row } from '../../src/batch/rows.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-rows-'));
});
afterAll(() => rm(directory, { recursive: true }));

type Given = { name?: string; delimiter?: string; compressed?: boolean };

async function open(content: string | Buffer, { name = 'X.csv', delimiter, compressed = false }: Given = {}) {
  const file = path.join(directory, 'rows');
  await writeFile(file, compressed ? gzipSync(content) : content);
  return identifyRows({ path: file, source: name, compressed }, delimiter ?? null);
}

async function read(content: string | Buffer, given: Given = {}) {
  const file = await open(content, given);
  const rows: Row[] = [];
  for await (const block of readRows(file)) for (const row of block) rows.push(row);
  return { columns: await readColumns(file), rows, delimiter: file.delimiter };
}

const valuesOf = ({ rows }: { rows: Row[] }) => rows.map(({ values }) => values);

describe('CSV', () => {
  it('has a header and rows, with the physical line on which each begins', async () => {
    const text = '\ufeffid, text \r\n1,"two\r\nlines, ""quoted"""\r\n\r\n2,\r\n3,"a\n\n\nb"\n4,é🌙';
    const { columns, rows } = await read(text);
    expect(columns).toEqual(['id', 'text']);
    expect(rows.map(({ number, line, values }) => ({ number, line, values }))).toEqual([
      { number: 1, line: 2, values: { id: '1', text: 'two\r\nlines, "quoted"' } },
      { number: 2, line: 5, values: { id: '2', text: '' } },
      { number: 3, line: 6, values: { id: '3', text: 'a\n\n\nb' } },
      { number: 4, line: 10, values: { id: '4', text: 'é🌙' } },
    ]);
  });

  it.each<[string, Given, string]>([
    ['a,b\n1,2', {}, ','],
    ['a;b\n1;2,5', {}, ';'],
    ['"a,x,y";b\n1;2', {}, ';'],
    ['a\tb\n1\t2', {}, '\t'],
    ['a,x\tb,y\n1\t2', { name: 'X.tsv' }, '\t'],
    ['a|b\n1|2', { delimiter: '|' }, '|'],
    ['text\nno delimiter at all', {}, ','],
    ['a,b\n1,2', { name: 'standard input' }, ','],
    ['a,b\n1,2', { name: 'X.csv.gz', compressed: true }, ','],
  ])('%j (%j) is divided by %j', async (text, given, delimiter) => {
    const found = await read(text, given);
    expect(found.delimiter).toBe(delimiter);
    expect(found.columns?.length).toBe(text.startsWith('text') ? 1 : 2);
    expect(found.rows).toMatchObject([{ number: 1, line: 2, fault: null }]);
  });

  it('of tabs takes a quote inside a value for a quote', async () => {
    const { rows } = await read('size\tnote\n5" disk\tsays "hi"\n"a\tb"\tx', { name: 'X.tsv' });
    expect(rows.map(({ values }) => values)).toEqual([
      { size: '5" disk', note: 'says "hi"' },
      { size: 'a\tb', note: 'x' },
    ]);
  });

  it('keeps the place of a row with too many or too few values, and says what is wrong', async () => {
    const { rows } = await read('a,b\n1\n1,2\n1,2,3\n');
    expect(rows.map(({ fault }) => fault?.message.split(';')[0])).toEqual([
      'expected 2 values, as the header has, got 1',
      undefined,
      'expected 2 values, as the header has, got 3',
    ]);
    expect(rows[2]?.values).toEqual({ a: '1', b: '2' });
  });

  it.each([
    ['a,,b\n', 'X.csv:1: expected a name for each column, got none for column 2 of 3'],
    ['\na,b, a\n', 'X.csv:2: expected each column once, got "a" as columns 1 and 3; rename one'],
    ['a,b\n1,"2\n3,4\n', 'X.csv:2: expected the end of value 2 of the row that begins here, got the end of the file'],
    ['a,b\n1,"2\n"x,4\n', 'X.csv:2: expected a delimiter behind the closing quote of value 2'],
    ['a,b\n1,2\n3,4 "x"\n', 'X.csv:3: expected a quote only at the very beginning of a value'],
    ['\n\n', 'X.csv: expected a header row'],
  ])('%j is refused: %s', async (text, message) => {
    await expect(read(text)).rejects.toMatchObject({
      code: 'input',
      message: expect.stringContaining(message) as string,
    });
  });

  it('in another encoding is refused with the line and the way to UTF-8', async () => {
    const filler = 'a,b\n' + 'x,y\n'.repeat(200_000);
    const latin1 = Buffer.concat([Buffer.from(filler), Buffer.from('Größe,1\n', 'latin1')]);
    await expect(read(latin1)).rejects.toThrow(
      /X\.csv:200002: expected UTF-8, got other bytes.*iconv -f WINDOWS-1252 -t UTF-8/,
    );
    await expect(read(Buffer.from('a\né', 'latin1'))).rejects.toThrow('X.csv:2: expected UTF-8');
  });

  it('of any values, in blocks that end anywhere, is what was written', async () => {
    const cell = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('"', '\r\n', ',', '🌙', ' x ', "'"));
    const table = fc.array(fc.tuple(cell, cell), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(table, fc.constantFrom('\n', '\r\n'), async (rows, lineEnd) => {
        // Long enough that blocks end inside of values and characters.
        const wide = rows.map(([a, b]) => [a, `${b}${'é🌙'.repeat(20_000)}`] as const);
        const lines = wide.map((cells) => cells.map((text) => csvCell(text, ',')).join(',') + lineEnd);
        const found = await read(`a,b${lineEnd}${lines.join('')}`, { delimiter: ',' });
        expect(valuesOf(found)).toEqual(wide.map(([a, b]) => ({ a, b })));
      }),
      { numRuns: 25 },
    );
  });
});

describe('JSONL rows', () => {
  it('are objects, numbered by their physical lines', async () => {
    const { columns, rows } = await read('{"a":1}\n\n{"a":{"b":null}}\n', { name: 'X.jsonl' });
    expect(columns).toBeNull();
    expect(rows).toMatchObject([
      { number: 1, line: 1, values: { a: 1 }, raw: null },
      { number: 3, line: 3, values: { a: { b: null } }, raw: null },
    ]);
  });

  it('that are none keep their place and their text', async () => {
    const { rows } = await read('[1]\n{"a":\n{"a":1}\n', { name: 'X.jsonl' });
    expect(rows.map(({ raw }) => raw)).toEqual(['[1]', '{"a":', null]);
  });

  it('keep every digit of a long number', async () => {
    const { rows } = await read('{"id":12345678901234567890,"x":1e400,"s":"1234567890123456789"}\n', {
      name: 'X.jsonl',
    });
    expect(JSON.stringify(rows[0]?.values)).toBe('{"id":12345678901234567890,"x":1e400,"s":"1234567890123456789"}');
  });

  it('are known by their content where the name says nothing, and have no delimiter', async () => {
    expect(await open(' {"a":1}', { name: 'standard input' })).toMatchObject({ format: 'jsonl' });
    await expect(open('{"a":1}', { name: 'X.jsonl', delimiter: ';' })).rejects.toThrow('--delimiter is for CSV');
  });
});
