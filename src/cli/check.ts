/**
 * `nightshift check`: validates an input file and, where there are keys, asks them for their models and holds each line
 * against these. Needs no Redis, and with --offline no network. Problems go to stdout as `file:line: field: message`,
 * the summary to stderr; with --json one object goes to stdout. Exit code 2 when a line is bad.
 */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import type { InputFile } from '../batch/input.ts';
import { createInspect } from '../batch/inspect.ts';
import type { LineProblem } from '../batch/problem.ts';
import { describeProblems, openBatchInput, placesOf } from '../batch/render.ts';
import { validateInput, type Validation } from '../batch/validate.ts';
import { firstPrompt, showPrompt, type FirstPrompt } from './first-prompt.ts';
import type { Globals } from './main.ts';
import { askOffers, keysIfAny, type Offers } from './offers.ts';
import { addRowsOptions, rowsOptionsOf, type RowsFlags } from './rows-options.ts';

type CheckOptions = RowsFlags & { json?: boolean; dropUnsupported?: boolean; offline?: boolean };

const examples = `
Examples:
  $ nightshift check prompts.jsonl
  $ nightshift check prompts.jsonl --model fast    for lines that name no model
  $ nightshift check reviews.csv --model fast --template 'Summarise: {{text}}'
  $ zcat prompts.jsonl.gz | nightshift check -

Exit codes: 0 every line is good, 2 one is not.`;

export function registerCheck(program: Command): void {
  const definition = program
    .command('check')
    .description('Validates an input file, every line of it, without sending any of it.')
    .argument('<input>', 'JSONL file, or CSV with --template, also gzipped; - reads standard input')
    .option('--model <model>', 'model of the lines that name none');
  addRowsOptions(definition)
    .option('--drop-unsupported', 'parameters that a model does not take are no problem, as with run')
    .option('--offline', 'ask no provider for its models: look at the file alone')
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
    const input = await openBatchInput(source, { spoolDir, rows: rowsOptionsOf(options) });
    const { config, keyring, remarks } = keysIfAny(options, { offline: options.offline ?? false });
    const asked = await askOffers(config, keyring);
    for (const remark of [...remarks, ...asked.remarks]) process.stderr.write(`${remark}\n`);
    const { aliases, fallbacks } = config;
    const dropUnsupported = options.dropUnsupported ?? false;
    const progress = createProgress(input);
    const validation = await validateInput(input, {
      spoolDir,
      defaults: { model: options.model ?? null },
      inspect: createInspect(asked.offers, { aliases, fallbacks, dropUnsupported }),
      onProgress: progress.show,
    }).finally(progress.clear);
    const prompt = input.rendered ? await firstPrompt(input) : null;
    if (options.json) process.stdout.write(`${JSON.stringify(await toJson(input, validation, prompt, asked))}\n`);
    else await printForPeople(input, validation, prompt);
    return validation.invalid === 0 ? 0 : 2;
  } finally {
    await rm(spoolDir, { recursive: true, force: true });
  }
}

async function toJson(
  input: InputFile,
  validation: Validation,
  prompt: FirstPrompt | null,
  { offers }: Offers,
): Promise<Record<string, unknown>> {
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
    problems: input.rendered ? await placed(input, problems) : problems,
    checkedAgainst: offers.filter(({ listing }) => listing).map(({ key }) => key.name),
    ...(prompt && { firstPrompt: prompt }),
  };
}

/** `line` is the row's number then; `place` is where the row stands in the file. */
async function placed(input: InputFile, problems: LineProblem[]) {
  const places = await placesOf(
    input,
    problems.map(({ line }) => line),
  );
  return problems.map((problem, at) => ({ ...problem, place: places[at] }));
}

async function printForPeople(input: InputFile, validation: Validation, prompt: FirstPrompt | null): Promise<void> {
  for (const line of await describeProblems(input, validation.problems)) process.stdout.write(`${line}\n`);
  const say = (text: string) => process.stderr.write(`${text}\n`);
  if (prompt) say(showPrompt(prompt));
  const { total, valid, invalid, problems } = validation;
  if (invalid > problems.length) say(`… and ${count(invalid - problems.length, 'more line')} with problems`);
  for (const [code, lines] of validation.problemCounts) say(`  ${code}: ${count(lines, 'line')}`);
  const models = [...validation.models].map(([model, lines]) => `${model} ${lines}`).join(', ');
  const verdict = invalid === 0 ? 'all good' : `${valid} good, ${invalid} bad`;
  const size = validation.sizeBytes;
  const shownSize =
    size < 1e3 ? count(size, 'byte') : size < 1e6 ? `${(size / 1e3).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`;
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
