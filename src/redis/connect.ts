/**
 * The connection to Redis, for everything else in the program: a given URL, or else the embedded server of the data
 * directory. Once opened it repairs itself: clients reconnect for ever with a capped pause, an embedded server that died
 * is started again, and commands wait meanwhile, so that whoever holds an answer keeps it and settles it afterwards.
 * An outage longer than the patience is an end: `gone` says so, and every command fails from then on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { createClient, type AnyClient, type Redis } from './client.ts';
import type { OneSlotCluster } from './cluster.ts';
import { firstContact } from './contact.ts';
import { type EmbeddedRedis, openEmbeddedRedis } from './embedded.ts';
import { watchCluster, watchConnection } from './outage.ts';
import { lostForGood, nameRedis } from './trouble.ts';
import { hidePassword, parseRedisUrl, type RedisAddress } from './url.ts';

export { reconnectPauseMs } from './client.ts';

export type RedisHandle = AsyncDisposable & {
  client: Redis;
  /** Another connection to the same server, for blocking reads or subscriptions. Closed with the handle. */
  duplicate(purpose: string): Redis;
  /** For BullMQ: its queues share one client, and its workers make themselves another for blocking. */
  connectionOptions: BullConnection;
  /** Names the server, without its password. */
  describe(): string;
  embedded: EmbeddedRedis | null;
  /** Resolves when Redis has been away for longer than the patience: there is nothing more to wait for. */
  gone: Promise<AppError>;
  close(): Promise<void>;
};

export type BullConnection = AnyClient;

/** How long an outage may last. People move a Redis to another machine in less. */
const defaultPatienceMs = 600_000;
/** An embedded server is started again by ourselves: where that does not help, waiting does not either. */
const embeddedPatienceMs = 45_000;
const quitWithinMs = 1_000;
const readyWithinMs = 60_000;

/** Errors: `redis`, `disk`. The server's fitness is another question: `checkServer` (checks.ts). */
export async function openRedis(options: {
  url: string | null;
  dataDir: string;
  log: Log;
  /** For tests of what does not answer. */
  giveUpAfterMs?: number | undefined;
  /** Default 600000, or 45000 for the embedded one. Null: outages of any length are waited for. */
  patienceMs?: number | null | undefined;
}): Promise<RedisHandle> {
  const { url, dataDir, log } = options;
  const address = url === null ? null : parseRedisUrl(url);
  const embedded = address === null ? await openEmbeddedRedis({ dataDir, log }) : null;
  const base: RedisAddress = address ?? { kind: 'socket', path: embedded?.socketPath ?? '', db: 0 };
  const shown = url === null ? `embedded Redis in ${embedded?.directory}` : hidePassword(url);
  nameRedis(url === null ? shown : `Redis at ${shown}`);
  const usual = embedded ? embeddedPatienceMs : defaultPatienceMs;
  const patienceMs = options.patienceMs === undefined ? usual : options.patienceMs;
  try {
    await firstContact({ address: base, shown, log, giveUpAfterMs: options.giveUpAfterMs });
    return await createHandle(base, shown, embedded, log, patienceMs);
  } catch (error) {
    await embedded?.close();
    throw error;
  }
}

async function createHandle(
  address: RedisAddress,
  shown: string,
  embedded: EmbeddedRedis | null,
  log: Log,
  patienceMs: number | null,
): Promise<RedisHandle> {
  const clients = new Set<AnyClient>();
  let isClosing = false;
  const create = (purpose: string): AnyClient => {
    const client = createClient(address, `nightshift:${purpose.replaceAll(/[^\w.:-]/g, '-')}`);
    clients.add(client);
    client.once('end', () => clients.delete(client));
    client.on('error', (error: Error) => {
      // Only the message: an error carries its command's arguments.
      log.debug({ redis: shown, purpose, cause: messageOf(error) }, 'Redis connection error');
    });
    return client;
  };

  const client = create('main');
  const { promise: gone, resolve: tellGone } = Promise.withResolvers<AppError>();
  let patience: NodeJS.Timeout | undefined;
  let restartError: AppError | null = null;
  let isLost = false;
  function giveUp(): void {
    isClosing = true;
    outage[Symbol.dispose]();
    tellGone(restartError ?? lostForGood());
    // Their commands fail, instead of waiting for what does not come.
    for (const each of clients) void disconnect(each);
  }
  const outage = (address.kind === 'cluster' ? watchCluster(client as OneSlotCluster) : watchConnection(client))({
    // Every failed attempt to reconnect comes by here again, so a server that could not be started is tried again too.
    onAway(cause) {
      if (isClosing) return;
      if (!isLost) log.warn({ redis: shown, cause }, 'Redis connection lost; reconnecting');
      isLost = true;
      if (patienceMs !== null) patience ??= setTimeout(giveUp, patienceMs);
      embedded?.ensure().catch((error: unknown) => {
        // Told at the end, if it does not get better: not with every attempt.
        if (error instanceof AppError) restartError = error;
        if (!isClosing) log.debug({ redis: shown }, messageOf(error));
      });
    },
    onBack() {
      // As loud as its loss: who was told of that waits for this.
      if (isLost) log.warn({ redis: shown }, 'Redis connection is back');
      isLost = false;
      clearTimeout(patience);
      patience = undefined;
      restartError = null;
    },
  });
  await untilReady(client, shown);

  let closing: Promise<void> | null = null;
  async function closeAll(): Promise<void> {
    isClosing = true;
    outage[Symbol.dispose]();
    clearTimeout(patience);
    // Lets commands on their way have their answers; a server that does not answer gets no more time.
    if (client.status === 'ready')
      await Promise.race([client.quit().catch(() => {}), sleep(quitWithinMs, undefined, { ref: false })]);
    await Promise.all([...clients].map(disconnect));
    await embedded?.close();
  }
  const close = () => (closing ??= closeAll());

  let ofQueues: AnyClient | null = null;
  return {
    client,
    duplicate: create,
    // Commands that need no queue do not pay for its connection.
    get connectionOptions() {
      return (ofQueues ??= create('queue'));
    },
    describe: () => shown,
    embedded,
    gone,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Contact has been made a moment ago, so this is short; should the server go just now, the client tries on. */
function untilReady(client: AnyClient, shown: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const what = client.isCluster
      ? `the Cluster at ${shown} is there, but not the nodes that it names; see them with: redis-cli CLUSTER SLOTS, ` +
        'and set cluster-announce-ip or cluster-announce-hostname to what is reached from here'
      : `lost the Redis at ${shown} while connecting to it; try again`;
    const late = new AppError('redis', what);
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

function disconnect(client: AnyClient): Promise<void> {
  return new Promise((resolve) => {
    if (client.status === 'end') return resolve();
    client.once('end', resolve);
    client.disconnect();
  });
}
