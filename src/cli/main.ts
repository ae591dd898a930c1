/**
 * The command line: wires one file per command, turns errors into one message and an exit code.
 * Results go to stdout, everything for people to stderr.
 */
import { createRequire } from 'node:module';
import { Command, InvalidArgumentError } from 'commander';
import { logLevels, type LogLevel } from '../log.ts';
import { parseDirectory } from './batch-files.ts';
import { registerCancel } from './cancel.ts';
import { registerCheck } from './check.ts';
import { registerEstimate } from './estimate.ts';
import { registerDoctor } from './doctor.ts';
import { endQuietlyWithoutReader, fail, failOnUncaught } from './failure.ts';
import { registerKeys } from './keys.ts';
import { registerRetry } from './retry.ts';
import { registerRun } from './run.ts';
import { registerSimulate } from './simulate.ts';
import { registerStatus } from './status.ts';
import { drainBeforeReport } from './drain-pending.ts';
import { registerUsage } from './usage.ts';
import { registerWorker } from './worker.ts';

export type Globals = {
  config?: string;
  redis?: string;
  data?: string;
  /** Absent: warnings and errors, in words. */
  logLevel?: LogLevel;
  color: boolean;
};

// The package's own, by its name: the same file whether this one is built or not.
const { version } = createRequire(import.meta.url)('nightshift/package.json') as { version: string };

export function createProgram(): Command {
  const program = new Command('nightshift');
  program
    .description('Runs large batches of LLM completions through rate-limited, budget-limited API keys.')
    .usage('<command> [options]')
    .version(version, '-V, --version', 'Shows the version.')
    .helpOption('-h, --help', 'Shows this help.')
    .helpCommand('help [command]', 'Shows the help of a command.')
    .option('--config <file>', 'configuration (default: nightshift.config.json where you stand, if there)')
    .option('--redis <url>', 'Redis to use instead of the embedded one (also REDIS_URL)')
    .option('--data <dir>', 'data directory (default: .nightshift)', parseDirectory)
    .option(
      '--log-level <level>',
      `log as JSON lines: ${logLevels.join(', ')} (default: warnings, in words)`,
      parseLevel,
    )
    .option('--no-color', 'no colours (also NO_COLOR)')
    .addHelpText('after', examples)
    .showHelpAfterError('(nightshift --help shows the commands)')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'nightshift: ')) })
    .exitOverride();
  registerRun(program);
  registerRetry(program);
  registerCancel(program);
  registerCheck(program);
  registerEstimate(program);
  registerStatus(program);
  registerKeys(program);
  registerDoctor(program);
  registerUsage(program, { drainPending: drainBeforeReport });
  registerWorker(program);
  registerSimulate(program);
  for (const command of program.commands) {
    command.showHelpAfterError(`(nightshift ${command.name()} --help shows its options)`);
  }
  return program;
}

const examples = `
Examples:
  $ nightshift run prompts.jsonl --simulate   a rehearsal: no key, no cost
  $ nightshift check prompts.jsonl            is every line of the file right?
  $ nightshift run prompts.jsonl --out results
  $ nightshift status                         how far is it?
  $ nightshift usage --by day                 what did it cost?`;

function parseLevel(text: string): LogLevel {
  const level = logLevels.find((known) => known === text);
  if (level) return level;
  throw new InvalidArgumentError(`Expected one of ${logLevels.join(', ')}.`);
}

/** Without a command it prints the help and ends with 2, as any call that cannot be carried out. */
export async function main(argv: string[]): Promise<void> {
  const program = createProgram();
  // Before the arguments are read there is nothing but them to go by.
  const stack = argv.some((arg, at) => /^--log-level(=|$)/.test(arg) && /debug|trace/.test(arg + argv[at + 1]));
  endQuietlyWithoutReader();
  failOnUncaught({ stack });
  try {
    await program.parseAsync(argv);
  } catch (error) {
    fail(error, { stack });
  }
}
