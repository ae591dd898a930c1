/**
 * Rows and a template → a file of requests, one short line (request.ts) a row, which is the batch's input from then on.
 *
 *   reviews.csv + --template + options ─► <spool>/<sha256 of all of it>.jsonl      line n = row n
 *
 * The same rows and the same words are the same file: the same command goes on where it stopped. Once it is rendered
 * the person's own file may change; `resume` goes on with what was rendered. A row of which no request can be made
 * becomes a line that says so, and is reported, counted and skipped as any other bad line. Streaming; a file under its
 * final name is whole.
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { AppError, messageOf } from '../errors.ts';
import type { BatchRecord } from './batch.ts';
import { sha256OfFile } from './fingerprint.ts';
import { openInput, type InputFile } from './input.ts';
import type { LineProblem } from './problem.ts';
import { checkNames, requestOf, type RowsOptions } from './row-request.ts';
import { formatByName, identifyRows, readColumns, readRows, type RowsFile } from './rows.ts';
import { listNames } from './template.ts';

export type BatchInputOptions = {
  spoolDir: string;
  stdin?: Readable;
  /** Null: the input is requests already. */
  rows: RowsOptions | null;
  /** Keep a copy of the rows as well, for answers-csv.ts. */
  keepRows?: boolean;
};

const rowsExpected = { content: 'CSV or JSONL text', unit: 'rows: CSV with a header, or one JSON object per line' };

/** The input of a batch: requests as they are, or rendered from rows. Errors: `input`, `usage`, `disk`. */
export async function openBatchInput(source: string, options: BatchInputOptions): Promise<InputFile> {
  const { spoolDir, rows: plan } = options;
  if (plan === null && formatByName(source) !== 'csv') return openInput(source, options);
  const file = await openInput(source, { ...options, expected: rowsExpected });
  const given = await identifyRows(file, plan?.delimiter ?? null);
  const columns = await readColumns(given);
  if (plan === null) throw needsTemplate(source, columns ?? []);
  checkNames(plan, given, columns);

  const { rendered, kept } = await placesFor(file, given, plan, source === '-' ? null : spoolDir);
  const target = path.join(path.resolve(spoolDir), rendered);
  if (!(await exists(target))) await spool(target, file, (temporary) => render(given, plan, temporary));
  if (options.keepRows && !(await exists(kept.path))) {
    await spool(kept.path, file, (temporary) => copyFile(given.path, temporary, constants.COPYFILE_FICLONE));
  }
  const opened = await openInput(target, { spoolDir });
  return { ...opened, source: file.source, name: file.name, rendered: { given, kept } };
}

/** The input of a batch that goes on: of rows, what was rendered, whatever became of the rows since. */
export async function reopenBatchInput(batch: BatchRecord, spoolDir: string): Promise<InputFile> {
  const kept = batch.options.rows;
  if (kept === null) return openInput(batch.inputFile, { spoolDir });
  if (!(await exists(batch.inputFile))) {
    throw new AppError(
      'input',
      `${batch.inputFile}, the requests that were made of ${kept.source}, is gone. Type the command that began ` +
        `"${batch.name}" again: it makes them anew, and goes on if ${kept.source} and the template are the same`,
    );
  }
  const opened = await openInput(batch.inputFile, { spoolDir });
  return { ...opened, source: kept.source, name: batch.name, rendered: { given: null, kept } };
}

/** Where these lines are in the person's own file: `X.jsonl:7`, or `X.csv:12: row 7`. */
export async function placesOf(input: InputFile, lines: readonly number[]): Promise<string[]> {
  const { source, rendered } = input;
  if (rendered?.kept.format !== 'csv') return lines.map((line) => `${source}:${line}`);
  const physical = await findRows(rendered.given, lines);
  return lines.map((row) => {
    const line = physical.get(row);
    return `${source}${line === undefined ? '' : `:${line}`}: row ${row}`;
  });
}

/** `X.csv:12: row 7: custom_id: expected …` */
export async function describeProblems(input: InputFile, problems: readonly LineProblem[]): Promise<string[]> {
  const places = await placesOf(
    input,
    problems.map(({ line }) => line),
  );
  return problems.map(({ field, message }, at) => `${places[at]}: ${field === null ? '' : `${field}: `}${message}`);
}

/** Row number → physical line. Only for messages: what cannot be read is missing. */
async function findRows(file: RowsFile | null, numbers: readonly number[]): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  const wanted = new Set(numbers);
  if (file === null || wanted.size === 0) return found;
  try {
    for await (const rows of readRows(file)) {
      for (const { number, line } of rows) if (wanted.has(number)) found.set(number, line);
      if (found.size === wanted.size) break;
    }
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
  return found;
}

const bytesPerWrite = 256 * 1024;

async function render(file: RowsFile, plan: RowsOptions, to: string): Promise<void> {
  await using handle = await open(to, 'wx', 0o600);
  let lines = 0;
  let held = '';
  for await (const rows of readRows(file)) {
    for (const row of rows) {
      // Blank lines of JSONL stay, so that the lines keep their numbers.
      held += '\n'.repeat(row.number - lines - 1) + `${requestOf(row, plan)}\n`;
      lines = row.number;
      if (held.length < bytesPerWrite) continue;
      await handle.writeFile(held);
      held = '';
    }
  }
  if (lines === 0) {
    const below = file.format === 'csv' ? 'rows below the header' : 'one JSON object per line';
    throw new AppError('input', `${file.source}: expected ${below}, got none`);
  }
  await handle.writeFile(held);
  await handle.sync();
}

function needsTemplate(source: string, columns: string[]): AppError {
  const example = columns.find((column) => !/(^|_)id$/i.test(column)) ?? columns[0] ?? 'text';
  return new AppError(
    'usage',
    `${source} is a table, and a prompt must be made of each row. Its columns: ${listNames(columns)}. ` +
      `Say how with --template and --model, for example: --template 'Summarise: {{${example}}}' --model fast ` +
      '(--template @file reads it from a file)',
  );
}

/** Names for the rendered file and the copy of the rows: by content, so that equal work is found again. */
async function placesFor(file: InputFile, given: RowsFile, plan: RowsOptions, spoolDir: string | null) {
  const sha256 = await sha256OfFile(file.path);
  // A delimiter that was said is the same as one that was found.
  const words = JSON.stringify([1, sha256, given.format, given.delimiter, { ...plan, delimiter: null }]);
  // Standard input is kept in the spool directory already.
  const keptPath = spoolDir === null ? given.path : path.join(path.resolve(spoolDir), `${sha256}.rows`);
  const kept: RowsFile = { ...given, path: keptPath };
  return { rendered: `${createHash('sha256').update(words).digest('hex')}.jsonl`, kept };
}

/** Lets `write` make a file under another name, then gives it its own. */
async function spool(target: string, from: InputFile, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${target}-${process.pid}-${randomBytes(6).toString('hex')}.tmp`;
  try {
    await mkdir(path.dirname(target), { recursive: true });
    await write(temporary);
    // Prompts are nobody else's business.
    await chmod(temporary, 0o600);
    await from.assertUnchanged();
    // One of the same content may be there by now, with somebody reading it: that one stays as it is.
    if (await exists(target)) await rm(temporary);
    else await rename(temporary, target);
  } catch (error) {
    // A second failure would hide the first.
    await rm(temporary, { force: true }).catch(() => {});
    if (error instanceof AppError) throw error;
    const cure = 'free some space, or choose another place with --data';
    throw new AppError('disk', `cannot write ${target}: ${messageOf(error)}; ${cure}`, { cause: error });
  }
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null)) !== null;
}
