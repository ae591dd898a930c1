import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openBatchInput, placesOf } from '../../src/batch/render.ts';
import type { RowsOptions } from '../../src/batch/row-request.ts';
import { parseTemplate } from '../../src/batch/template.ts';
import { validateInput } from '../../src/batch/validate.ts';

let directory: string;
let spoolDir: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-render-'));
  spoolDir = path.join(directory, 'spool');
});
afterEach(() => rm(directory, { recursive: true }));

type Words = Partial<Omit<RowsOptions, 'template' | 'system'>> & { template?: string; system?: string };

function plan({ template = 'Say {{text}}', system, ...more }: Words = {}): RowsOptions {
  return {
    template: parseTemplate(template, '--template'),
    system: system === undefined ? null : parseTemplate(system, '--system'),
    model: 'fast',
    maxTokens: null,
    temperature: null,
    idColumn: null,
    delimiter: null,
    ...more,
  };
}

async function save(name: string, content: string | Buffer): Promise<string> {
  const file = path.join(directory, name);
  await writeFile(file, content);
  return file;
}

async function open(name: string, content: string | Buffer, words: Words = {}, keepRows = false) {
  return openBatchInput(await save(name, content), { spoolDir, rows: plan(words), keepRows });
}

async function linesOf(input: { path: string }): Promise<unknown[]> {
  const text = await readFile(input.path, 'utf8');
  expect(text.endsWith('\n')).toBe(true);
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => (line === '' ? null : (JSON.parse(line) as unknown)));
}

async function problemsOf(input: Awaited<ReturnType<typeof open>>) {
  const { problems, total, invalid } = await validateInput(input, { spoolDir, defaults: { model: null } });
  const places = await placesOf(
    input,
    problems.map(({ line }) => line),
  );
  const told = problems.map(({ field, message }, at) => `${path.basename(places[at] ?? '')}: ${field}: ${message}`);
  return { told, total, invalid, problems };
}

const user = (content: string) => [{ role: 'user', content }];

describe('rows and a template', () => {
  it('are rendered into one short request a row, under the name of the rows', async () => {
    const input = await open('reviews.csv', 'id,text\na,one\nb,"two\nlines"\n', {
      system: 'About {{id}}',
      maxTokens: 40,
      temperature: 0.5,
      idColumn: 'id',
    });
    expect(input).toMatchObject({ name: 'reviews', source: path.join(directory, 'reviews.csv') });
    expect(await linesOf(input)).toEqual(
      [
        ['a', 'Say one'],
        ['b', 'Say two\nlines'],
      ].map(([id, content]) => ({
        custom_id: id,
        messages: [{ role: 'system', content: `About ${id}` }, ...user(content ?? '')],
        model: 'fast',
        max_tokens: 40,
        temperature: 0.5,
      })),
    );
    expect(await problemsOf(input)).toMatchObject({ told: [], total: 2 });
    expect((await stat(input.path)).mode & 0o777).toBe(0o600);
  });

  it('take their custom_id from the column of that name, else from the number of the row', async () => {
    expect(await linesOf(await open('X.csv', 'custom_id,text\nq,1\n'))).toMatchObject([{ custom_id: 'q' }]);
    const [line] = await linesOf(await open('X.csv', 'id,text\nq,1\n'));
    expect(line).toEqual({ messages: user('Say 1'), model: 'fast' });
    const mixed = await open('X.jsonl', '{"text":"a","custom_id":7}\n{"text":"b"}\n');
    expect(await linesOf(mixed)).toMatchObject([{ custom_id: '7' }, { messages: user('Say b') }]);
    const long = await open('X.jsonl', '{"text":"a","n":{"id":12345678901234567890}}\n', { idColumn: 'n.id' });
    expect(await linesOf(long)).toMatchObject([{ custom_id: '12345678901234567890' }]);
  });

  it('may be gzipped, may come by standard input, and blank lines of JSONL keep the numbers of the others', async () => {
    expect(await linesOf(await open('X.csv.gz', gzipSync('text\na\n')))).toMatchObject([{ messages: user('Say a') }]);
    const stdin = Readable.from(['{"text":"a"}\n\n{"text":"b"}\n']);
    const input = await openBatchInput('-', { spoolDir, stdin, rows: plan() });
    expect(input).toMatchObject({ source: 'standard input', rendered: { given: { format: 'jsonl' } } });
    expect(await linesOf(input)).toMatchObject([{ messages: user('Say a') }, null, { messages: user('Say b') }]);
    const piped = Readable.from(['text\nc\n']);
    expect(await linesOf(await openBatchInput('-', { spoolDir, stdin: piped, rows: plan() }))).toHaveLength(1);
  });

  it('are the same file again for the same rows and words, and another one for others', async () => {
    const rows = 'id,text\na,one\n';
    const first = await open('X.csv', rows);
    const again = await open('other-name.csv', rows);
    expect(again).toMatchObject({ path: first.path, inode: first.inode, mtimeMs: first.mtimeMs });
    const words: Words[] = [
      { template: 'Tell {{text}}' },
      { system: '{{id}}' },
      { model: 'reasoning' },
      { maxTokens: 1 },
      { temperature: 0 },
      { idColumn: 'id' },
      { delimiter: ',' },
    ];
    const paths = new Set([first.path]);
    for (const one of words) paths.add((await open('X.csv', rows, one)).path);
    paths.add((await open('X.csv', 'id,text\na,two\n')).path);
    // A delimiter that is said is the one that was found.
    expect(paths.size).toBe(words.length + 1);
    expect((await readdir(spoolDir)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('are kept beside the rendered file where that is asked for', async () => {
    const rows = 'id,text\na,one\n';
    const { rendered } = await open('X.csv', rows, {}, true);
    await writeFile(path.join(directory, 'X.csv'), 'changed');
    expect(await readFile(rendered?.kept.path ?? '', 'utf8')).toBe(rows);
  });
});

describe('what is wrong with a row', () => {
  it('of CSV is told by the line and the row of the person’s own file', async () => {
    const rows = 'id,text\n"a\n\n",1\nb\n\nc,3,4\nb,5\n,6\nb,7\n';
    const { told, total, invalid } = await problemsOf(await open('X.csv', rows, { idColumn: 'id' }));
    expect({ total, invalid }).toEqual({ total: 6, invalid: 4 });
    expect(told).toEqual([
      expect.stringContaining('X.csv:5: row 2: null: expected 2 values, as the header has, got 1; write an empty'),
      expect.stringContaining('X.csv:7: row 3: null: expected 2 values, as the header has, got 3; put quotes'),
      expect.stringContaining('X.csv:9: row 5: custom_id: expected a string of 1 to 512 characters, got an empty'),
      expect.stringContaining(
        'X.csv:10: row 6: custom_id: expected another custom_id on each row, got "b" as on row 4',
      ),
    ]);
  });

  it('of JSONL is told by its line, all of them at once', async () => {
    const rows = '{"text":"a"}\n{"txt":"b"}\n{"text":null}\n\n[1]\n{"text":\n{"text":"c","id":{}}\n';
    const { told } = await problemsOf(await open('X.jsonl', rows));
    expect(told).toEqual([
      expect.stringContaining(
        'X.jsonl:2: text: expected a value for {{text}} (--template, line 1, column 5), got none',
      ),
      expect.stringContaining('X.jsonl:3: text: expected a value for {{text}}'),
      expect.stringContaining('X.jsonl:5: null: expected a JSON object, got an array'),
      expect.stringContaining('X.jsonl:6: null: expected a JSON object, got broken JSON'),
    ]);
    const withIds = await problemsOf(await open('X.jsonl', rows, { idColumn: 'id' }));
    expect(withIds.told.at(-1)).toContain('id: expected a string or a number for the custom_id, got an object');
    const latin1 = Buffer.from('{"text":"é"}\n', 'latin1');
    expect((await problemsOf(await open('X.jsonl', latin1))).told[0]).toContain('X.jsonl:1: null: expected UTF-8');
  });

  it('keeps the custom_id of the row', async () => {
    const { problems } = await problemsOf(await open('X.jsonl', '{"custom_id":"mine"}\n'));
    expect(problems).toMatchObject([{ customId: 'mine', code: 'missing_value' }]);
  });
});

describe('what is wrong before any row is read', () => {
  it.each<[string, string | Buffer, Words, string]>([
    [
      'X.csv',
      'id,text\n1,2\n',
      { template: 'a {{txet}}' },
      '--template, line 1, column 3: expected a column of X.csv, got {{txet}}; did you mean "text"? its columns: id, text',
    ],
    ['X.csv', 'Review Text\n1\n', { template: '{{review_text}}' }, 'did you mean "Review Text"?'],
    ['X.csv', 'id,text\n1,2\n', { system: '{{who}}' }, '--system, line 1, column 1: expected a column'],
    [
      'X.csv',
      'id,text\n1,2\n',
      { idColumn: 'ID' },
      '--id-column: expected a column of X.csv, got "ID"; did you mean "id"?',
    ],
    [
      'X.csv',
      'id,text\n1,2\n',
      { template: 'Say it' },
      'every row would be the same prompt; the columns of X.csv: id, text',
    ],
    ['X.csv', 'id,text\n', {}, 'X.csv: expected rows below the header, got none'],
    ['X.csv', '', {}, 'X.csv is empty; expected rows: CSV with a header, or one JSON object per line'],
    ['X.xlsx', 'PK\x03\x04', {}, 'expected CSV or JSONL text, but it looks like a zip archive or an Excel workbook'],
    ['X.csv', Buffer.from('id,text\n1,2\n', 'utf16le'), {}, 'it looks like UTF-16 text; convert it: iconv'],
  ])('%s with %j and %j is refused: %s', async (name, content, words, message) => {
    await expect(open(name, content, words)).rejects.toThrow(
      message.replaceAll('X.csv', path.join(directory, 'X.csv')),
    );
    expect((await readdir(spoolDir).catch(() => [])).filter((file) => !file.endsWith('.rows'))).toEqual([]);
  });

  it('a table without a template is refused with its columns and an example', async () => {
    for (const [name, text] of [
      ['X.csv', 'review_id;text\n1;a\n'],
      ['X.tsv', 'id\ttext\n1\ta\n'],
    ] as const) {
      const file = await save(name, text);
      await expect(openBatchInput(file, { spoolDir, rows: null })).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(
          /a prompt must be made of each row\. Its columns: \w*id, text\..*--template 'Summarise: \{\{text\}\}'/,
        ) as string,
      });
    }
  });

  it('requests need no template and are opened as they are', async () => {
    const file = await save('X.jsonl', '{"prompt":"a"}\n');
    expect(await openBatchInput(file, { spoolDir, rows: null })).toMatchObject({ path: file, source: file });
  });
});
