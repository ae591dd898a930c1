/** `nightshift retry`: the failed lines of a finished batch, once more. */
import path from 'node:path';
import type { Command } from 'commander';
import { isFinished } from '../batch/batch.ts';
import { findBatch } from '../batch/find.ts';
import { isHeld } from '../batch/lease.ts';
import { beginRetry } from '../batch/retry.ts';
import { reopenBatchInput } from '../batch/render.ts';
import { assertSameInput } from '../batch/setup.ts';
import { AppError } from '../errors.ts';
import { createKeyring, requireKeys } from '../keys/keyring.ts';
import { openSqliteLedger } from '../ledger/sqlite.ts';
import { goOn, type GoOnOptions } from './go-on.ts';
import { parseConcurrency, parseCount, parseUsd } from './numbers.ts';
import { say } from './screen.ts';
import { configOf, openSession } from './session.ts';

type RetryOptions = GoOnOptions & { attempts?: number };

const examples = `
Examples:
  $ nightshift retry prompts
  $ nightshift retry prompts --attempts 10 --budget 50

The lines leave the error file and end anew, in the output or the error file.
Those of a cancelled batch are among them; those that are invalid stay there.
Interrupted, the same command goes on. Exit codes are those of nightshift run.`;

export function registerRetry(program: Command): void {
  program
    .command('retry')
    .description('Sends the failed lines of a finished batch once more.')
    .argument('<batch>', 'its name or id')
    .option('--budget <usd>', 'a new budget for the whole batch, what is spent included', parseUsd)
    .option('--concurrency <n>', 'calls at once, or auto', parseConcurrency, 'auto')
    .option('--attempts <n>', 'calls per line before it fails again (default: as before)', parseCount)
    .option('--no-worker', 'send nothing from here; nightshift worker does')
    .option('--json', 'one object on stdout at the end')
    .addHelpText('after', examples)
    .action(async (batch: string, _: unknown, command: Command) => {
      process.exitCode = await retry(batch, command.optsWithGlobals<RetryOptions>());
    });
}

async function retry(nameOrId: string, options: RetryOptions): Promise<number> {
  const config = configOf(options, { secrets: true });
  const keyring = createKeyring(config);
  requireKeys(keyring);
  await using session = await openSession(options, config);
  const { redis, names } = session;
  const batch = await findBatch(redis.client, names, nameOrId);
  // One that began earlier and was interrupted is gone on with.
  if (!isFinished(batch) && batch.retries === 0) {
    const isRunning = await isHeld(redis.client, names, batch.batchId);
    const cure = isRunning ? 'it is running: wait for its end' : `go on with it first: nightshift resume ${batch.name}`;
    throw new AppError('usage', `${batch.name} is not finished (${batch.status}); ${cure}`);
  }
  const input = await reopenBatchInput(batch, path.join(config.dataDir, 'spool'));
  await assertSameInput({ input, name: batch.name }, batch);
  const store = openSqliteLedger(path.join(config.dataDir, 'ledger.db'));
  const begin = async () => {
    const { attempts = null } = options;
    await beginRetry(
      { redis: redis.client, names, store, attempts, deadlineMs: config.deadlineMs },
      batch.batchId,
      say,
    );
  };
  try {
    return await goOn({ session, keyring, store, input, batch, options, begin });
  } finally {
    await store.close();
  }
}
