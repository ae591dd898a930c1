/**
 * The options that make requests of rows: `--template` and what belongs to it, the same for `run` and `check`. A value
 * that begins with @ names a file with the text.
 */
import { readFileSync, statSync } from 'node:fs';
import { isUtf8 } from 'node:buffer';
import path from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { describeReadError } from '../batch/bytes.ts';
import type { RowsOptions } from '../batch/row-request.ts';
import { parseTemplate, type Template } from '../batch/template.ts';
import { AppError } from '../errors.ts';

export type RowsFlags = {
  model?: string;
  template?: string;
  system?: string;
  maxTokens?: number;
  temperature?: number;
  idColumn?: string;
  delimiter?: string;
};

export function addRowsOptions(command: Command): Command {
  return command
    .option('--template <text|@file>', 'a prompt of each row of a CSV or JSONL file: {{column}}')
    .option('--system <text|@file>', 'system prompt of the template, may hold {{column}}, too')
    .option('--max-tokens <n>', 'max_tokens of each request of the template', parseMaxTokens)
    .option('--temperature <t>', 'temperature of each request of the template', parseTemperature)
    .option('--id-column <name>', 'column of the custom_ids (default: custom_id, else the row\u2019s number)')
    .option('--delimiter <character>', 'of a CSV file (default: found out)', parseDelimiter);
}

/** Null without --template. Errors: `usage`, for a template that is none, and for options that go only with one. */
export function rowsOptionsOf(flags: RowsFlags): RowsOptions | null {
  const { template, system, model, maxTokens, temperature, idColumn, delimiter } = flags;
  if (template === undefined) {
    const given = { system, 'max-tokens': maxTokens, temperature, 'id-column': idColumn, delimiter };
    const stray = Object.entries(given).find(([, value]) => value !== undefined);
    if (!stray) return null;
    throw new AppError(
      'usage',
      `--${stray[0]} belongs to --template, which is missing: give both, or write it into the lines of the input`,
    );
  }
  if (model === undefined || model.trim() === '') {
    throw new AppError('usage', '--template needs a model for the requests: add --model, for example --model fast');
  }
  return {
    template: readTemplate('--template', template),
    system: system === undefined ? null : readTemplate('--system', system),
    model,
    maxTokens: maxTokens ?? null,
    temperature: temperature ?? null,
    idColumn: idColumn ?? null,
    delimiter: delimiter ?? null,
  };
}

/** No prompt is near this; the file of rows, named by mistake, is. */
const longestTemplateBytes = 1024 * 1024;

function readTemplate(option: string, given: string): Template {
  if (!given.startsWith('@')) {
    if (given.trim() === '') throw new AppError('usage', `${option}: expected text or @file, got nothing`);
    return parseTemplate(given, option);
  }
  const file = given.slice(1);
  const fail = (message: string) => new AppError('usage', `${option} @${file}: ${message}`);
  let bytes: Buffer;
  try {
    const { size } = statSync(file);
    if (size > longestTemplateBytes) throw fail(`expected a template of at most 1 MiB, got ${size} bytes`);
    bytes = readFileSync(file);
  } catch (error) {
    throw describeReadError({ path: path.resolve(file), source: `${option} @${file}` }, error);
  }
  if (!isUtf8(bytes)) throw fail('expected UTF-8, got other bytes; convert it: iconv -f WINDOWS-1252 -t UTF-8');
  // An editor's last line break, and a mark in front from Windows, are not part of the prompt.
  const text = bytes
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .replace(/\r?\n$/, '');
  if (text.trim() === '') throw fail('expected text, got an empty file');
  return parseTemplate(text, file);
}

function parseMaxTokens(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new InvalidArgumentError('expected a whole number of at least 1');
}

function parseTemperature(text: string): number {
  const temperature = Number(text);
  if (text.trim() !== '' && Number.isFinite(temperature) && temperature >= 0) return temperature;
  throw new InvalidArgumentError('expected a number of at least 0, such as 0.7');
}

function parseDelimiter(text: string): string {
  const delimiter = text === 'tab' || text === '\\t' ? '\t' : text;
  // One byte: the parser compares bytes.
  if (/^[\t -~]$/.test(delimiter) && !/["A-Za-z0-9]/.test(delimiter)) return delimiter;
  throw new InvalidArgumentError('expected one character such as , ; | or tab');
}
