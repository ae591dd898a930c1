/**
 * `nightshift check`: validates an input file without Redis, keys or network. Problems go to stdout as
 * `file:line: field: message`, the summary to stderr; with --json one object goes to stdout. Exit code 2 when a line
 * is bad.
 */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import { openInput, type InputFile } from '../batch/input.ts';
import { validateInput, type Validation } from '../batch/validate.ts';
import type { Globals } from './main.ts';

type CheckOptions = { model?: string; json?: boolean };

const examples = `
Examples:
  $ nightshift check prompts.jsonl
  $ nightshift check prompts.jsonl --model fast    for lines that name no model
  $ zcat prompts.jsonl.gz | nightshift check -

Exit codes: 0 every line is good, 2 one is not.`;

export function registerCheck(program: Command): void {
  program
    .command('check')
    .description('Validates an input file, every line of it, without sending anything.')
    .argument('<input>', 'JSONL file, also gzipped; - reads standard input')
    .option('--model <model>', 'model of the lines that name none')
    .option('--json', 'one object on stdout')
    .addHelpText('after', examples)
    .action(async (source: string, _options: CheckOptions, command: Command) => {
      process.exitCode = await check(source, command.optsWithGlobals<CheckOptions & Globals>());
    });
}

async function check(source: string, options: CheckOptions & Globals): Promise<number> {
  // Of its own: what is left of a check must not outlive it, nor may it take the file of a run that is under way.
  const spoolDir = path.resolve(options.data ?? '.nightshift', 'spool', `check-${process.pid}`);
  try {
    const input = await openInput(source, { spoolDir });
    const progress = createProgress(input);
    const validation = await validateInput(input, {
      spoolDir,
      defaults: { model: options.model ?? null },
      onProgress: progress.show,
    }).finally(progress.clear);
    if (options.json) process.stdout.write(`${JSON.stringify(toJson(input, validation))}\n`);
    else printForPeople(input, validation);
    return validation.invalid === 0 ? 0 : 2;
  } finally {
    await rm(spoolDir, { recursive: true, force: true });
  }
}

function toJson(input: InputFile, validation: Validation): Record<string, unknown> {
  const { total, valid, invalid, lines, sizeBytes, sha256, problems } = validation;
  return {
    input: input.source,
    name: input.name,
    total,
    valid,
    invalid,
    lines,
    sizeBytes,
    sha256,
    models: Object.fromEntries(validation.models),
    problemCounts: Object.fromEntries(validation.problemCounts),
    problems,
  };
}

function printForPeople(input: InputFile, validation: Validation): void {
  for (const { line, field, message } of validation.problems) {
    process.stdout.write(`${input.source}:${line}: ${field === null ? '' : `${field}: `}${message}\n`);
  }
  const say = (text: string) => process.stderr.write(`${text}\n`);
  const { total, valid, invalid, problems } = validation;
  if (invalid > problems.length) say(`… and ${count(invalid - problems.length, 'more line')} with problems`);
  for (const [code, lines] of validation.problemCounts) say(`  ${code}: ${count(lines, 'line')}`);
  const models = [...validation.models].map(([model, lines]) => `${model} ${lines}`).join(', ');
  const verdict = invalid === 0 ? 'all good' : `${valid} good, ${invalid} bad`;
  const size = validation.sizeBytes;
  const shownSize =
    size < 1e3
      ? count(size, 'byte')
      : size < 1e6
        ? `${(size / 1e3).toFixed(1)} kB`
        : `${(size / 1e6).toFixed(1)} MB`;
  say(`${input.source}: ${count(total, 'request')} (${verdict}), ${shownSize}${models && `; models: ${models}`}`);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

const progressEveryMs = 200;

/** A line that overwrites itself, on a terminal only. */
function createProgress(input: InputFile) {
  if (!process.stderr.isTTY) return { show: () => {}, clear: () => {} };
  let shownAtMs = Date.now();
  let isShown = false;
  return {
    show: ({ bytesRead, lines }: { bytesRead: number; lines: number }) => {
      if (Date.now() - shownAtMs < progressEveryMs) return;
      shownAtMs = Date.now();
      isShown = true;
      const percent = Math.floor((bytesRead / input.sizeBytes) * 100);
      process.stderr.write(`\rchecking ${input.source}: ${percent} %, ${count(lines, 'line')}`);
    },
    clear: () => {
      if (isShown) process.stderr.write('\r\x1b[K');
    },
  };
}
