/**
 * The command line: wires one file per command, turns errors into one message and an exit code.
 * Results go to stdout, everything for people to stderr.
 */
import { createRequire } from 'node:module';
import { Command, CommanderError, Option } from 'commander';
import { AppError } from '../errors.ts';
import { logLevels } from '../log.ts';
import { registerCheck } from './check.ts';
import { registerKeys } from './keys.ts';
import { registerRun } from './run.ts';
import { registerSimulate } from './simulate.ts';
import { registerStatus } from './status.ts';
import { registerUsage } from './usage.ts';
import { registerWorker } from './worker.ts';

export type Globals = {
  config?: string;
  redis?: string;
  data?: string;
  logLevel: (typeof logLevels)[number];
  color: boolean;
};

// The package's own, by its name: the same file whether this one is built or not.
const { version } = createRequire(import.meta.url)('nightshift/package.json') as { version: string };

export function createProgram(): Command {
  const program = new Command('nightshift');
  program
    .description('Runs large batches of LLM completions through rate-limited, budget-limited API keys.')
    .version(version)
    .option('--config <file>', 'configuration (default: nightshift.config.json where you stand, if there)')
    .option('--redis <url>', 'Redis to use instead of the embedded one (also REDIS_URL)')
    .option('--data <dir>', 'data directory (default: .nightshift)')
    .addOption(new Option('--log-level <level>', 'log lines on stderr').choices(logLevels).default('warn'))
    .option('--no-color', 'no colours')
    .showHelpAfterError('(nightshift --help shows the commands)')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride();
  registerRun(program);
  registerCheck(program);
  registerStatus(program);
  registerKeys(program);
  registerUsage(program);
  registerWorker(program);
  registerSimulate(program);
  return program;
}

export async function main(argv: string[]): Promise<void> {
  try {
    await createProgram().parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has printed its message already; help and version are no errors.
      process.exitCode = error.exitCode === 0 ? 0 : 2;
    } else if (error instanceof AppError) {
      process.stderr.write(`nightshift: ${error.message}\n`);
      process.exitCode = error.exitCode;
    } else {
      throw error;
    }
  }
}
