/**
 * The connection to Redis, for everything else in the program: a given URL, or else the embedded server of the data
 * directory. Once opened it repairs itself: clients reconnect for ever with a capped pause, and an embedded server that
 * died is started again. A command waits through an outage of about a minute and then fails with
 * MaxRetriesPerRequestError; BullMQ's blocking connections wait for ever. Whoever cannot work without Redis listens to
 * `gone`, which comes a little sooner.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { AppError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { firstContact } from './contact.ts';
import { type EmbeddedRedis, openEmbeddedRedis } from './embedded.ts';
import { lostForGood, nameRedis } from './trouble.ts';
import { hidePassword, parseRedisUrl, type RedisAddress } from './url.ts';

export type RedisHandle = AsyncDisposable & {
  client: Redis;
  /** Another connection to the same server, for blocking reads or subscriptions. Closed with the handle. */
  duplicate(purpose: string): Redis;
  /** For BullMQ, which makes its own connections from them. They hold the password: never log them. */
  connectionOptions: BullConnection;
  /** Names the server, without its password. */
  describe(): string;
  embedded: EmbeddedRedis | null;
  /** Resolves when Redis has been away for longer than the patience: there is nothing more to wait for. */
  gone: Promise<AppError>;
  close(): Promise<void>;
};

/** What both ioredis and BullMQ understand. */
export type BullConnection = ReturnType<typeof bullConnection>;

const longestPauseMs = 2_000;
/** How long an outage may last, as a restart or a failover does. */
const defaultPatienceMs = 45_000;
/** Pauses of 0.05, 0.1, … 1.6 s and then 2 s: about a minute. */
const commandRetries = 35;
const quitWithinMs = 1_000;
/** After this an end of ours that the server does not answer is an end all the same. */
const hangUpWithinMs = 500;
const readyWithinMs = 60_000;

/** The pause before the `times`-th attempt to reconnect: 50 ms doubled up to a cap, less up to a quarter at random. */
export function reconnectPauseMs(times: number): number {
  const pauseMs = Math.min(longestPauseMs, 50 * 2 ** Math.min(times - 1, 10));
  return Math.ceil(pauseMs * (1 - Math.random() / 4));
}

/** Errors: `redis`, `disk`. The server's fitness is another question: `checkServer` (checks.ts). */
export async function openRedis(options: {
  url: string | null;
  dataDir: string;
  log: Log;
  /** For tests of what does not answer. */
  giveUpAfterMs?: number | undefined;
  /** Default 45000. */
  patienceMs?: number | undefined;
}): Promise<RedisHandle> {
  const { url, dataDir, log } = options;
  const address = url === null ? null : parseRedisUrl(url);
  const embedded = address === null ? await openEmbeddedRedis({ dataDir, log }) : null;
  const base: RedisAddress = address ?? { path: embedded?.socketPath ?? '', db: 0 };
  const shown = url === null ? `embedded Redis in ${embedded?.directory}` : hidePassword(url);
  nameRedis(url === null ? shown : `Redis at ${shown}`);
  try {
    await firstContact({ address: base, shown, log, giveUpAfterMs: options.giveUpAfterMs });
    return await createHandle(base, shown, embedded, log, options.patienceMs ?? defaultPatienceMs);
  } catch (error) {
    await embedded?.close();
    throw error;
  }
}

function bullConnection(address: RedisAddress) {
  return { ...address, retryStrategy: reconnectPauseMs, maxRetriesPerRequest: null };
}

async function createHandle(
  address: RedisAddress,
  shown: string,
  embedded: EmbeddedRedis | null,
  log: Log,
  patienceMs: number,
): Promise<RedisHandle> {
  const clients = new Set<Redis>();
  let isClosing = false;
  const create = (purpose: string): Redis => {
    const client = new Redis({
      ...address,
      retryStrategy: reconnectPauseMs,
      maxRetriesPerRequest: commandRetries,
      disconnectTimeout: hangUpWithinMs,
      connectionName: `nightshift:${purpose.replaceAll(/[^\w.:-]/g, '-')}`,
    });
    clients.add(client);
    client.once('end', () => clients.delete(client));
    watch(client, purpose);
    return client;
  };

  /** One line per outage, not per attempt. Only the message: an error carries its command's arguments. */
  function watch(client: Redis, purpose: string): void {
    let isLost = false;
    let lastError = '';
    client.on('error', (error: Error) => {
      lastError = messageOf(error);
      log.debug({ redis: shown, purpose, cause: lastError }, 'Redis connection error');
    });
    client.on('close', () => {
      if (isClosing) return;
      if (!isLost && purpose === 'main')
        log.warn({ redis: shown, cause: lastError }, 'Redis connection lost; reconnecting');
      isLost = true;
    });
    client.on('ready', () => {
      if (isLost && purpose === 'main') log.info({ redis: shown }, 'Redis connection is back');
      isLost = false;
    });
  }

  const client = create('main');
  const { promise: gone, resolve: giveUp } = Promise.withResolvers<AppError>();
  let patience: NodeJS.Timeout | undefined;
  let restartError: AppError | null = null;
  // Every failed attempt to reconnect comes by here again, so a server that could not be started is tried again too.
  client.on('close', () => {
    if (isClosing) return;
    patience ??= setTimeout(() => giveUp(restartError ?? lostForGood()), patienceMs);
    embedded?.ensure().catch((error: unknown) => {
      // Told at the end, if it does not get better: not with every attempt.
      if (error instanceof AppError) restartError = error;
      if (!isClosing) log.debug({ redis: shown }, messageOf(error));
    });
  });
  client.on('ready', () => {
    clearTimeout(patience);
    patience = undefined;
    restartError = null;
  });
  await untilReady(client, shown);

  let closing: Promise<void> | null = null;
  async function closeAll(): Promise<void> {
    isClosing = true;
    clearTimeout(patience);
    // Lets commands on their way have their answers; a server that does not answer gets no more time.
    if (client.status === 'ready')
      await Promise.race([client.quit().catch(() => {}), sleep(quitWithinMs, undefined, { ref: false })]);
    await Promise.all([...clients].map(disconnect));
    await embedded?.close();
  }
  const close = () => (closing ??= closeAll());

  return {
    client,
    duplicate: create,
    connectionOptions: bullConnection(address),
    describe: () => shown,
    embedded,
    gone,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Contact has been made a moment ago, so this is short; should the server go just now, the client tries on. */
function untilReady(client: Redis, shown: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = new AppError('redis', `lost the Redis at ${shown} while connecting to it; try again`);
    const timeout = setTimeout(() => {
      client.disconnect();
      reject(late);
    }, readyWithinMs);
    client.once('ready', () => {
      clearTimeout(timeout);
      resolve();
    });
  });
}

function disconnect(client: Redis): Promise<void> {
  return new Promise((resolve) => {
    if (client.status === 'end') return resolve();
    client.once('end', resolve);
    const isBetweenAttempts = client.status === 'reconnecting';
    client.disconnect();
    if (!isBetweenAttempts) return;
    // Without a connection there is no end of one, and waiting commands would wait for ever: begin one, and end it.
    client.connect().catch(() => {});
    client.disconnect();
  });
}
