/**
 * Rows: what a template makes requests of. CSV with a header, or JSONL with one object per line. A row has a number,
 * which becomes its line in the rendered file: CSV rows are counted below the header, JSONL rows by their physical
 * line. A row that cannot be used keeps its place and says why; streaming, in blocks.
 */
import path from 'node:path';
import { AppError } from '../errors.ts';
import { isObject, type JsonObject } from './body.ts';
import { readBytes, type ByteSource } from './bytes.ts';
import { readCsv, sniffDelimiter } from './csv.ts';
import { eachLine, readChunks } from './lines.ts';
import type { Fault } from './problem.ts';

export type RowsFormat = 'csv' | 'jsonl';

export type RowsFile = ByteSource & {
  format: RowsFormat;
  /** Of CSV, one character; '' of JSONL. */
  delimiter: string;
};

export type Row = {
  /** 1-based. */
  number: number;
  /** 1-based physical line on which it begins. */
  line: number;
  /** By column or field. */
  values: JsonObject;
  /** What is wrong with it as a row. */
  fault: Fault | null;
  /** A line of JSONL that is no object, as it stands. */
  raw: string | null;
};

/** By the extension of a path or file name; null where that says nothing. */
export function formatByName(name: string): RowsFormat | null {
  const extension = path.extname(name.replace(/\.gz$/i, '')).toLowerCase();
  if (extension === '.csv' || extension === '.tsv') return 'csv';
  return extension === '.jsonl' || extension === '.ndjson' ? 'jsonl' : null;
}

/**
 * Finds out what the rows are: by `--delimiter`, by the name, else by the content. Errors: `usage` for a delimiter of
 * JSONL.
 */
export async function identifyRows(file: ByteSource, delimiter: string | null): Promise<RowsFile> {
  const head = await firstBlock(file);
  const byName = formatByName(file.source);
  if (delimiter !== null && byName === 'jsonl') {
    throw new AppError('usage', `--delimiter is for CSV; ${file.source} is JSONL by its name: leave it out`);
  }
  const startsAsJson = /^\ufeff?\s*[{[]/.test(head.toString('utf8', 0, 1024));
  const format = delimiter !== null ? 'csv' : (byName ?? (startsAsJson ? 'jsonl' : 'csv'));
  const { path: place, source, compressed } = file;
  if (format === 'jsonl') return { path: place, source, compressed, format, delimiter: '' };
  const isTsv = /\.tsv(\.gz)?$/i.test(source);
  return { path: place, source, compressed, format, delimiter: delimiter ?? (isTsv ? '\t' : sniffDelimiter(head)) };
}

/** The columns of CSV, checked; null for JSONL, whose rows may differ. Errors: `input`. */
export async function readColumns(file: RowsFile): Promise<string[] | null> {
  if (file.format === 'jsonl') return null;
  for await (const records of readCsv(file)) {
    const [header] = records;
    if (header) return checkHeader(file, header.cells, header.line);
  }
  throw new AppError('input', `${file.source}: expected a header row with the names of the columns, got none`);
}

/** In blocks, which may be empty. Blank lines are no rows. Errors: `input`, with the line. */
export async function* readRows(file: RowsFile): AsyncGenerator<Row[]> {
  yield* file.format === 'csv' ? readCsvRows(file) : readJsonRows(file);
}

async function* readCsvRows(file: RowsFile): AsyncGenerator<Row[]> {
  let columns: string[] | null = null;
  let number = 0;
  for await (const records of readCsv(file)) {
    const rows: Row[] = [];
    for (const { line, cells } of records) {
      if (columns === null) {
        columns = checkHeader(file, cells, line);
        continue;
      }
      number += 1;
      const values: JsonObject = Object.fromEntries(
        columns.slice(0, cells.length).map((column, index) => [column, cells[index]]),
      );
      const fault = cells.length === columns.length ? null : raggedRow(cells.length, columns.length);
      rows.push({ number, line, values, fault, raw: null });
    }
    yield rows;
  }
}

const chunkLimits = { fromOffset: 0, fromLine: 1, maxLines: 8192, maxBytes: 256 * 1024 };

async function* readJsonRows(file: RowsFile): AsyncGenerator<Row[]> {
  for await (const chunk of readChunks(file, chunkLimits)) {
    const rows: Row[] = [];
    eachLine(chunk, (text, line) => {
      const values = parseRow(text);
      rows.push({ number: line, line, values: values ?? {}, fault: null, raw: values ? null : text });
    });
    yield rows;
  }
}

/** Long whole numbers (ids, mostly) and exponents: read as a double, they would no longer be what the file says. */
const mayLoseDigits = /\d{16}|\d[eE]/;
const json = JSON as typeof JSON & { rawJSON: (text: string) => unknown };
type WithSource = (key: string, value: unknown, context: { source?: string }) => unknown;
const keepDigits: WithSource = (_, value, { source }) =>
  typeof value === 'number' && source !== undefined && String(value) !== source ? json.rawJSON(source) : value;

function parseRow(text: string): JsonObject | null {
  try {
    const row: unknown = mayLoseDigits.test(text)
      ? JSON.parse(text, keepDigits as (key: string, value: unknown) => unknown)
      : JSON.parse(text);
    return isObject(row) ? row : null;
  } catch {
    return null;
  }
}

async function firstBlock(file: ByteSource): Promise<Buffer> {
  for await (const block of readBytes(file)) return Buffer.from(block);
  return Buffer.alloc(0);
}

/** Names without the spaces around them, which no template could tell apart. */
function checkHeader(file: RowsFile, cells: string[], line: number): string[] {
  const columns = cells.map((cell) => cell.trim());
  const fail = (message: string) => new AppError('input', `${file.source}:${line}: ${message}`);
  for (const [index, column] of columns.entries()) {
    const first = columns.indexOf(column);
    if (column === '') {
      throw fail(
        `expected a name for each column, got none for column ${index + 1} of ${columns.length}; ` +
          'name it in the header, or take the column out (pandas: to_csv(…, index=False))',
      );
    }
    if (first !== index) {
      throw fail(`expected each column once, got "${column}" as columns ${first + 1} and ${index + 1}; rename one`);
    }
  }
  return columns;
}

function raggedRow(got: number, expected: number): Fault {
  const values = (count: number) => `${count} value${count === 1 ? '' : 's'}`;
  const cure =
    got > expected
      ? 'put quotes around a value that holds a delimiter'
      : 'write an empty value for what is missing, or close a quote before it';
  const message = `expected ${values(expected)}, as the header has, got ${got}; ${cure}`;
  return { field: null, code: 'wrong_field_count', message };
}
