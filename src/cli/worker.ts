/** `nightshift worker`: serves whatever batches are in the queue, until it is told to stop. */
import { once } from 'node:events';
import type { Command } from 'commander';
import { createKeyring, requireKeys } from '../keys/keyring.ts';
import { autoConcurrency, startWorkerProcess } from '../../workers/process.ts';
import { registerKeys } from '../keys/standing.ts';
import { formatCounted } from '../ledger/report.ts';
import { createInterrupts } from './interrupts.ts';
import { watchKeys } from './key-reload.ts';
import type { Globals } from './main.ts';
import { parseConcurrency } from './numbers.ts';
import { say } from './screen.ts';
import { configOf, openSession } from './session.ts';

type WorkerOptions = Globals & { concurrency: number | 'auto' };
const graceMs = 30_000;

export function registerWorker(program: Command): void {
  program
    .command('worker')
    .description('Sends requests for the batches in the queue. Start as many as you like, on any machine.')
    .option('--concurrency <n>', 'calls at once, or auto', parseConcurrency, 'auto')
    .addHelpText(
      'after',
      '\nExamples:\n  $ REDIS_URL=redis://queue:6379 nightshift worker\n  $ nightshift worker --concurrency 200',
    )
    .action(async (_: unknown, command: Command) => {
      await work(command.optsWithGlobals<WorkerOptions>());
    });
}

async function work(options: WorkerOptions): Promise<void> {
  const config = configOf(options, { secrets: true });
  const keyring = createKeyring(config);
  requireKeys(keyring);
  await using session = await openSession(options, config, { waitsForRedis: true });
  // With --log-level a program reads what a service says: all of it, in one form.
  const isLogged = options.logLevel !== undefined;
  const tell = isLogged ? (text: string) => session.log.info(text) : say;
  const interrupts = createInterrupts(tell);
  const concurrency = options.concurrency === 'auto' ? autoConcurrency(keyring) : options.concurrency;
  const worker = await startWorkerProcess({ config, keyring, redis: session.redis, log: session.log, concurrency });
  const does = `${formatCounted(keyring.keys.length, 'key')}, ${formatCounted(concurrency, 'call')} at once`;
  tell(`Worker ${worker.workerId} on ${session.redis.describe()}: ${does}.`);
  using _reload = watchKeys({
    globals: options,
    config,
    keyring,
    register: (keys) => registerKeys(session.redis.client, session.names, keys),
    say: isLogged ? (text) => session.log.warn(text) : say,
  });
  interrupts.abort.addEventListener('abort', () => worker.abortCalls(), { once: true });
  // Both may have come while the worker was starting.
  if (interrupts.abort.aborted) worker.abortCalls();
  if (!interrupts.stop.aborted) await once(interrupts.stop, 'abort');
  await worker.stop(graceMs);
  interrupts.close();
}
