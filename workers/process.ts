/**
 * A worker process' inside: client, limiter, queue worker, signs of life, announcement of its keys and the burial of dead
 * workers, started and stopped together. `nightshift worker` is one of these; `nightshift run` has one beside its
 * producer and collector.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../src/config.ts';
import type { Keyring } from '../src/keys/keyring.ts';
import { announceEveryMs, announceKeys } from '../src/keys/announced.ts';
import { registerKeys } from '../src/keys/standing.ts';
import type { Log } from '../src/log.ts';
import { messageOf } from '../src/errors.ts';
import { createClient } from '../src/provider/client.ts';
import type { RedisHandle } from '../src/redis/connect.ts';
import { createNames } from '../src/redis/names.ts';
import { createQueue } from '../jobs/completion.ts';
import { startCompletionWorker } from './completion.ts';
import { createContext } from './context.ts';
import { tellOfListings } from './refused.ts';
import { createRoster, signOfLifeEveryMs } from './roster.ts';

export type WorkerProcess = {
  workerId: string;
  /** Takes nothing more and waits for the calls in flight; after `graceMs` it ends them. */
  stop: (graceMs: number) => Promise<void>;
  /** Takes nothing more and ends the calls in flight now. */
  abortCalls: () => void;
};

export type WorkerOptions = { config: Config; keyring: Keyring; redis: RedisHandle; log: Log; concurrency: number };

const lookForDeadEveryMs = 1000;
const longestListingWaitMs = 3000;
/** After the last call has ended, for settling it. */
const settleGraceMs = 5000;
/** For the last words to Redis. */
const goodbyeMs = 2000;

export async function startWorkerProcess(options: WorkerOptions): Promise<WorkerProcess> {
  const { config, keyring, log, concurrency } = options;
  const redis = options.redis.client;
  const names = createNames(config.namespace);
  const client = createClient({
    connections: concurrency,
    attemptTimeoutMs: config.attemptTimeoutMs,
    idleTimeoutMs: config.streamIdleTimeoutMs,
  });
  const stopping = new AbortController();
  const givingUp = new AbortController();
  const signals = { stopping: stopping.signal, givingUp: givingUp.signal };
  const ctx = createContext({ config, redis, names, log, keyring, client, ...signals });

  const queue = createQueue(options.redis.connectionOptions, names);
  queue.on('error', (error) => log.debug({ error: messageOf(error) }, 'queue'));
  const roster = createRoster(ctx, queue);
  const announce = async () => {
    const { keys } = keyring;
    // One provider that hangs must not silence the keys of the others.
    const late = sleep(longestListingWaitMs, null, { ref: false });
    const listings = await Promise.all(keys.map((key) => Promise.race([ctx.listings.get(key), late])));
    tellOfListings(
      { keyring, log },
      keys.map((key, index) => ({ key, result: listings[index] ?? null })),
    );
    const serving = keys.filter(({ provider }, index) => {
      return listings[index]?.tag === 'listing' && !ctx.circuitOf(provider.name).hasGivenUp(performance.now());
    });
    await announceKeys(redis, names, serving, config);
  };
  await registerKeys(redis, names, keyring.keys);
  await announce();
  await roster.signOfLife();
  await roster.recover();
  const worker = startCompletionWorker(ctx, roster, options.redis.connectionOptions, concurrency);
  const background = (work: () => Promise<unknown>) =>
    void work().catch((error: unknown) => log.debug({ error: messageOf(error) }, 'worker upkeep'));
  const timers = [
    setInterval(() => background(roster.signOfLife), signOfLifeEveryMs),
    setInterval(() => background(roster.recoverInTurn), lookForDeadEveryMs),
    setInterval(() => background(announce), announceEveryMs),
  ];
  log.info({ workerId: ctx.workerId, concurrency, keys: keyring.keys.length }, 'worker started');

  return {
    workerId: ctx.workerId,
    abortCalls() {
      // First: what is ended now must not be sent again by this process.
      stopping.abort();
      client.abort();
    },
    async stop(graceMs) {
      stopping.abort();
      const grace = setTimeout(() => client.abort(), graceMs);
      // BullMQ's close waits for Redis for ever when it is away (taskforcesh/bullmq#4656).
      const patience = setTimeout(() => givingUp.abort(), graceMs + settleGraceMs);
      await Promise.race([worker.close(), once(givingUp.signal, 'abort')]);
      clearTimeout(grace);
      clearTimeout(patience);
      for (const timer of timers) clearInterval(timer);
      // A Redis that is away is waited for without end; without a word from us, the roster finds by itself that we are gone.
      const within = () => sleep(goodbyeMs, undefined, { ref: false });
      try {
        await Promise.race([roster.signOff(), within()]);
      } finally {
        await Promise.all([client.close(), Promise.race([queue.close(), within()])]);
      }
      log.info({ workerId: ctx.workerId }, 'worker stopped');
    },
  };
}

/** Requests that can be in flight at once when nothing is known: enough for a slow model, bounded for memory. */
const fewestAtOnce = 64;
const mostAtOnce = 1000;

/** `--concurrency auto`: what the keys' limits could have in flight if an answer took twenty seconds. */
export function autoConcurrency(keyring: Keyring): number {
  const perSecond = keyring.keys.reduce((sum, { rpm, provider }) => {
    return sum + (typeof rpm === 'number' ? rpm / (provider.windowMs / 1000) : 0);
  }, 0);
  const ceiling = keyring.keys.every(({ maxInFlight }) => maxInFlight !== null)
    ? keyring.keys.reduce((sum, { maxInFlight }) => sum + (maxInFlight ?? 0), 0)
    : mostAtOnce;
  return Math.min(ceiling, Math.max(fewestAtOnce, Math.min(mostAtOnce, Math.ceil(perSecond * 20))));
}
