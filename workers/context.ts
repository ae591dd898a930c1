/**
 * What every part of a worker process shares: connections, the keyring, the limiter, what was learnt. Wired once.
 */
import { randomBytes } from 'node:crypto';
import type { Redis } from '../src/redis/client.ts';
import type { Config } from '../src/config.ts';
import { createEstimator, type Estimator } from '../src/keys/estimate.ts';
import type { Key, Keyring } from '../src/keys/keyring.ts';
import { createAcquire, type Acquire } from '../src/keys/limiter.ts';
import { createLateness, type Lateness } from '../src/keys/lateness.ts';
import { createListings, type Listings } from '../src/keys/listings.ts';
import { createMarkSent, type MarkSent } from '../src/keys/sent.ts';
import { createSettle, type Settle } from '../src/keys/settle.ts';
import type { Log } from '../src/log.ts';
import { createCircuit, defaultCircuitRules, type Circuit, type CircuitEvents } from '../src/provider/circuit.ts';
import type { Client } from '../src/provider/client.ts';
import { createPatience, type Patience } from '../src/provider/patience.ts';
import { thisMachine } from '../src/process-gone.ts';
import type { Names } from '../src/redis/names.ts';
import { createAbsence, type Absence } from './absence.ts';
import { createElsewhere, type Elsewhere } from './elsewhere.ts';
import { createOpenAttempts, type OpenAttempts } from './open-attempts.ts';
import { settleSurely } from './settling.ts';

export type WorkerContext = {
  config: Config;
  redis: Redis;
  names: Names;
  log: Log;
  workerId: string;
  /** Goes into every attempt id, so that no two processes ever make the same one. */
  attemptNonce: string;
  /** What this process has under way. */
  attempts: OpenAttempts;
  /** Whether Redis was away, so that nobody is judged by a silence which was Redis'. */
  absence: Absence;
  keyring: Keyring;
  client: Client;
  listings: Listings;
  /** Keys that only other workers have. */
  elsewhere: Elsewhere;
  acquire: Acquire;
  settle: Settle;
  markSent: MarkSent;
  estimator: Estimator;
  lateness: Lateness;
  patience: Patience;
  circuitOf: (provider: string) => Circuit;
  /**
   * Key id → when (performance.now) an answer closed it, for a while or for good. A slot granted before that is void:
   * it was waited for, but the call is not under way yet.
   */
  closedAtMs: Map<string, number>;
  /** Key id → the requests per minute that response headers named last. */
  toldRpm: Map<string, number>;
  /** (key, model) pairs that answered "no such model" lately: used only where nothing else is left. */
  exclusions: Exclusions;
  /** Aborts when this worker must take and send nothing more. Calls in flight end by themselves. */
  stopping: AbortSignal;
  /** Aborts when even answers in hand cannot be settled any more. */
  givingUp: AbortSignal;
};

export type ContextOptions = Pick<
  WorkerContext,
  'config' | 'redis' | 'names' | 'log' | 'keyring' | 'client' | 'stopping' | 'givingUp'
>;

/** Machine and process, so that a person can find it; random, because a process id comes back. */
export function newWorkerId(): string {
  return `${thisMachine()}/${process.pid}/${randomBytes(3).toString('hex')}`;
}

export function createContext(options: ContextOptions): WorkerContext {
  const { config, redis, names, client, keyring } = options;
  const workerId = newWorkerId();
  const absence = createAbsence(redis);
  const circuits = new Map<string, Circuit>();
  return {
    ...options,
    workerId,
    attemptNonce: randomBytes(4).toString('hex'),
    attempts: createOpenAttempts(workerId),
    absence,
    listings: createListings({ redis, names, client, maxAgeMs: config.modelsMaxAgeMs, redact: keyring.redact }),
    elsewhere: createElsewhere({ redis, names, keyring, absence }),
    acquire: createAcquire({ redis, names, workerId, dayBudgetNanoUsd: config.dailyBudgetNanoUsd }),
    settle: settleSurely(createSettle({ redis, names }), { log: options.log, giveUp: options.givingUp }),
    markSent: createMarkSent({ redis, names }),
    estimator: createEstimator(),
    lateness: createLateness({ redis, names, log: options.log }),
    patience: createPatience(),
    closedAtMs: new Map(),
    toldRpm: new Map(),
    exclusions: createExclusions(),
    circuitOf(provider) {
      let circuit = circuits.get(provider);
      if (!circuit)
        circuits.set(provider, (circuit = createCircuit(defaultCircuitRules, tellOf(provider, options.log))));
      return circuit;
    },
  };
}

/** An outage is told when it begins and when it is over: from outside it looks like a batch that slows down. */
function tellOf(provider: string, log: Log): CircuitEvents {
  const { failuresToOpen, giveUpAfterMs } = defaultCircuitRules;
  const minutes = giveUpAfterMs / 60_000;
  return {
    onOpen: (cause) =>
      log.warn(
        { provider, cause },
        `${provider} fails (${failuresToOpen} calls in a row): now and then one call tries it; ` +
          `after ${minutes} minutes without an answer the batch pauses`,
      ),
    onClose: () => log.warn({ provider }, `${provider} answers again`),
  };
}

export type Exclusions = { add: (key: Key, model: string) => void; has: (key: Key, model: string) => boolean };

/** As long as a listing may be trusted: by then the next one says better. */
const excludedForMs = 60_000;

function createExclusions(): Exclusions {
  const until = new Map<string, number>();
  const name = (key: Key, model: string) => `${key.keyId} ${model}`;
  return {
    add: (key, model) => void until.set(name(key, model), performance.now() + excludedForMs),
    has: (key, model) => (until.get(name(key, model)) ?? 0) > performance.now(),
  };
}
