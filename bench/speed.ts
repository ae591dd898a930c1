/**
 * `npm run bench:speed`: how fast nightshift's worker is beside a bare loop and the usual home-made runners, and what
 * else of it can be told in figures. Prints tables and writes bench/results/speed.json, section by section.
 *
 *   npm run bench:speed -- --section throughput --only a,e --rounds 3 --lines 60000 --concurrency 100
 *   npm run bench:speed -- --section limits --workers 1,3 --window 6000 --windows 3
 *   npm run bench:speed -- --section scripts,validate --validate-mb 1024
 *   npm run bench:speed -- --section memory --memory 1e4,1e5,1e6,1e7
 *   npm run bench:speed -- --quick            everything, small: to see that it works, not to quote
 *
 * Linux only: CPU time and memory are read from /proc.
 */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { contenderIds, type ContenderId } from './speed/contenders.ts';
import { measureLimits } from './speed/limits.ts';
import { measureMemory } from './speed/memory.ts';
import { writeRecord } from './speed/record.ts';
import { measureScripts } from './speed/scripts-cost.ts';
import { measureThroughput } from './speed/throughput.ts';
import { measureValidation } from './speed/validation.ts';

const { values } = parseArgs({
  options: {
    section: { type: 'string' },
    only: { type: 'string' },
    rounds: { type: 'string' },
    lines: { type: 'string' },
    concurrency: { type: 'string' },
    workers: { type: 'string' },
    window: { type: 'string' },
    windows: { type: 'string' },
    'validate-mb': { type: 'string' },
    memory: { type: 'string' },
    quick: { type: 'boolean', default: false },
    record: { type: 'string' },
  },
});

const sections = {
  throughput: () =>
    measureThroughput(
      {
        only: onlyOf(values.only),
        rounds: wholeNumber('rounds', values.rounds, values.quick ? 1 : 5),
        // The first ten thousand are slower everywhere, while code is compiled; a batch of the night is longer.
        lines: wholeNumber('lines', values.lines, values.quick ? 1000 : 60_000),
        concurrency: wholeNumber('concurrency', values.concurrency, 100),
      },
      say,
    ),
  limits: () =>
    measureLimits(
      {
        workers: numbersOf('workers', values.workers, values.quick ? [2] : [1, 2, 3, 4]),
        // Shorter windows on both sides are quicker, but our guard is 250 ms however long the window is.
        windowMs: wholeNumber('window', values.window, values.quick ? 2000 : 60_000),
        windows: wholeNumber('windows', values.windows, 3),
      },
      say,
    ),
  scripts: () =>
    measureScripts(
      {
        keys: values.quick ? [1] : [1, 4, 32, 256, 1000],
        together: values.quick ? [16] : [1, 16, 64],
        lines: values.quick ? 64 : 16_384,
      },
      say,
    ),
  validate: () =>
    measureValidation(
      {
        megabytes: wholeNumber('validate-mb', values['validate-mb'], values.quick ? 16 : 1024),
        repeats: wholeNumber('rounds', values.rounds, values.quick ? 1 : 5),
        enqueueLines: values.quick ? 2000 : 100_000,
        firstRequestLines: values.quick ? 2000 : 100_000,
      },
      say,
    ),
  memory: () =>
    measureMemory(
      {
        sizes: numbersOf('memory', values.memory, values.quick ? [500, 1000] : [1e4, 1e5, 1e6]),
        concurrency: wholeNumber('concurrency', values.concurrency, 100),
      },
      say,
    ),
};
type Section = keyof typeof sections;
const sectionNames = Object.keys(sections) as Section[];

function say(text: string): void {
  console.log(text);
}

function wholeNumber(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new Error(`--${name}: expected a whole number above 0, got "${text}"`);
}

function numbersOf(name: string, text: string | undefined, otherwise: number[]): number[] {
  return text === undefined ? otherwise : text.split(',').map((part) => wholeNumber(name, part, 1));
}

function listOf<T extends string>(name: string, text: string | undefined, known: readonly T[]): T[] {
  if (text === undefined) return [...known];
  return text.split(',').map((part) => {
    const found = known.find((one) => one === part.trim());
    if (found) return found;
    throw new Error(`--${name}: expected some of ${known.join(',')}, got "${part}"`);
  });
}

function onlyOf(text: string | undefined): ContenderId[] {
  return listOf('only', text, contenderIds);
}

if (process.platform !== 'linux') throw new Error('expected Linux: CPU time and memory are read from /proc');
const record = path.resolve(values.record ?? path.join(import.meta.dirname, 'results', 'speed.json'));
for (const section of listOf('section', values.section, sectionNames)) {
  writeRecord(record, section, await sections[section]());
}
say(`\nwritten to ${path.relative(process.cwd(), record)}`);
