/**
 * `--csv`: the results as a table, `<name>.answers.csv`, made at the end from the rows and the finished output and error
 * files. One row per row of the input, in its order, with all its columns and ours behind them; for an input of requests
 * the custom_id and ours. In memory are line numbers and offsets; a crash leaves the whole table or none.
 *
 * RFC 4180, CRLF. Two things follow the person's own CSV, so that the table opens where that did: its semicolon, where
 * it has one, and its byte order mark. What a provider wrote is text and must not become a formula: see `withoutFormula`.
 */
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import type { Price } from '../config.ts';
import { AppError, systemErrorCode } from '../errors.ts';
import { answerCells, answerColumns } from './answer-cells.ts';
import type { BatchOptions, BatchRecord } from './batch.ts';
import { readBytes } from './bytes.ts';
import { csvCell } from './csv.ts';
import { indexLines, readPlace, type LineIndex } from './line-index.ts';
import { diskError } from './result-file.ts';
import { readColumns, readRows, type Row, type RowsFile } from './rows.ts';
import { textOf } from './template.ts';

type Batch = Pick<BatchRecord, 'name' | 'outputFile' | 'errorFile'> & { options: Pick<BatchOptions, 'rows'> };

export function answersFileOf({ name, outputFile }: Pick<Batch, 'name' | 'outputFile'>): string {
  return path.join(path.dirname(outputFile), `${name}.answers.csv`);
}

/** `prices` are the configured ones. Errors: `disk`; `input` when the rows that were kept are gone. */
export async function writeAnswersCsv(batch: Batch, prices: Record<string, Price>): Promise<void> {
  const { rows } = batch.options;
  const target = answersFileOf(batch);
  if (rows !== null) await assertKept(rows, target);
  const temporary = path.join(path.dirname(target), `.${path.basename(target)}.tmp`);
  try {
    await using output = await open(batch.outputFile, 'r');
    await using errors = await open(batch.errorFile, 'r');
    await using to = await open(temporary, 'w');
    const results = new Results(
      { from: output, index: await indexLines(output) },
      { from: errors, index: await indexLines(errors) },
    );
    const write = createWriter(to, rows?.delimiter === ';' ? ';' : ',');
    if (rows === null) await writeRequests(write, results, prices);
    else await writeRows(write, rows, results, prices);
    await write.flush();
    await to.sync();
    await rename(temporary, target);
  } catch (error) {
    // A second failure would hide the first.
    await rm(temporary, { force: true }).catch(() => {});
    throw systemErrorCode(error) === undefined ? error : diskError(target, error);
  }
}

type Writer = {
  row: (cells: readonly string[]) => Promise<void>;
  flush: () => Promise<void>;
  text: (of: string) => void;
};

async function writeRequests(write: Writer, results: Results, prices: Record<string, Price>): Promise<void> {
  await write.row(['custom_id', ...answerColumns]);
  for (;;) {
    const taken: Promise<string | null>[] = [];
    for (let line = results.nextLine(); line !== null; line = results.nextLine()) {
      if (taken.push(results.take(line)) === readsAtOnce) break;
    }
    if (taken.length === 0) return;
    for (const result of await Promise.all(taken)) {
      const cells = answerCells(result, prices);
      await write.row([cells.customId ?? '', ...cells.ours]);
    }
  }
}

async function writeRows(
  write: Writer,
  rows: RowsFile,
  results: Results,
  prices: Record<string, Price>,
): Promise<void> {
  if (await beginsWithMark(rows)) write.text('\ufeff');
  const columns = (await readColumns(rows)) ?? (await fieldsOf(rows));
  await write.row([...(columns ?? [wholeRow]), ...ourNames(columns ?? [wholeRow])]);
  for await (const block of readRows(rows)) {
    for (let from = 0; from < block.length; from += readsAtOnce) {
      const group = block.slice(from, from + readsAtOnce);
      const taken = await Promise.all(group.map(({ number }) => results.take(number)));
      for (const [at, row] of group.entries()) {
        const own = columns ? columns.map((column) => cellOf(row, column)) : [wholeCell(row)];
        await write.row([...own, ...answerCells(taken[at] ?? null, prices).ours]);
      }
    }
  }
}

function cellOf({ values }: Row, column: string): string {
  const value = Object.hasOwn(values, column) ? values[column] : null;
  return value === null ? '' : textOf(value);
}

function wholeCell({ values, raw }: Row): string {
  return raw ?? JSON.stringify(values);
}

/** A spreadsheet holds 16,384; beyond this the fields are data rather than columns. */
const mostColumns = 1000;
const wholeRow = 'row';

/** The fields of all rows of JSONL, in the order in which they appear; null when there are too many for columns. */
async function fieldsOf(rows: RowsFile): Promise<string[] | null> {
  const fields = new Set<string>();
  for await (const block of readRows(rows)) {
    for (const { values } of block) for (const field of Object.keys(values)) fields.add(field);
    if (fields.size > mostColumns) return null;
  }
  return [...fields];
}

/** Ours give way: a file of questions and reference answers has a column "answer" already. */
function ourNames(columns: readonly string[]): string[] {
  const taken = new Set(columns);
  return answerColumns.map((column) => {
    let name: string = column;
    while (taken.has(name)) name = `nightshift_${name}`;
    return name;
  });
}

async function beginsWithMark(rows: RowsFile): Promise<boolean> {
  if (rows.format !== 'csv') return false;
  for await (const block of readBytes(rows)) return block.subarray(0, 3).equals(Buffer.from('\ufeff'));
  return false;
}

const bytesPerWrite = 256 * 1024;
/** Enough to keep the disk busy; so many results are in memory. */
const readsAtOnce = 64;

function createWriter(to: FileHandle, delimiter: string): Writer {
  let held = '';
  const flush = async () => {
    if (held !== '') await to.writeFile(held);
    held = '';
  };
  return {
    text(of) {
      held += of;
    },
    async row(cells) {
      held += `${cells.map((cell) => csvCell(cell, delimiter)).join(delimiter)}\r\n`;
      if (held.length >= bytesPerWrite) await flush();
    },
    flush,
  };
}

type IndexedFile = { from: FileHandle; index: LineIndex };

/** The results of both files, asked for by ascending line; several may be on their way at once. */
class Results {
  readonly #files: (IndexedFile & { next: number })[];

  constructor(...files: IndexedFile[]) {
    this.#files = files.map((file) => ({ ...file, next: 0 }));
  }

  /** The first line that was not taken yet. */
  nextLine(): number | null {
    const lines = this.#files.flatMap(({ index, next }) => (next < index.count ? [index.at(next).line] : []));
    return lines.length === 0 ? null : Math.min(...lines);
  }

  /** The result's text; null when there is none, which only a change of the files by others can bring about. */
  async take(line: number): Promise<string | null> {
    for (const file of this.#files) {
      while (file.next < file.index.count && file.index.at(file.next).line < line) file.next += 1;
      if (file.next === file.index.count || file.index.at(file.next).line !== line) continue;
      const place = file.index.at(file.next);
      file.next += 1;
      return (await readPlace(file.from, place)).toString('utf8');
    }
    return null;
  }
}

async function assertKept(rows: RowsFile, target: string): Promise<void> {
  if ((await stat(rows.path).catch(() => null)) !== null) return;
  throw new AppError(
    'input',
    `${rows.path}, the copy of ${rows.source} that ${path.basename(target)} is made of, is gone. All results are in the ` +
      'output file; for the table, type the command that began the batch again: it makes the copy anew',
  );
}
