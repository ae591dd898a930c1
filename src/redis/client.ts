/**
 * The client of a Redis, whatever runs there: one server, a primary behind Sentinels, a Cluster. `Redis` is what all
 * other code sees of it: commands, transactions, events. How long an outage may last is connect.ts's; a client by
 * itself waits for ever, with its commands, and sends again what had no answer when the connection broke.
 */
import type { EventEmitter } from 'node:events';
import type { Cluster, ClusterOptions, Redis as Single, RedisOptions } from 'ioredis';
import { OneSlotCluster } from './cluster.ts';
import { SingleClient } from './single.ts';
import type { RedisAddress } from './url.ts';

type InBoth = Exclude<
  keyof Single & keyof Cluster,
  keyof EventEmitter | 'options' | 'status' | 'duplicate' | 'sendCommand'
>;

/** What ioredis' `Redis` and `Cluster` have in common. */
export type Redis = Pick<Single, InBoth> & EventEmitter & { status: string };

const longestPauseMs = 2_000;
/** After this an end of ours that the server does not answer is an end all the same. */
const hangUpWithinMs = 500;
const connectWithinMs = 5_000;
/**
 * A connection on which an answer is due for so long is dead, although nobody closed it: a cable, a firewall, a machine
 * that is gone. Longer than any command of ours blocks (BullMQ's wait: 10 s).
 */
const silentForMs = 20_000;
/** A server that reads its data tells how long that may take; this is asked more often. */
const loadingCheckMs = 1_000;
/** Between two tries of a command whose Cluster node is gone, until another has taken its place. */
const clusterRetryMs = 150;
/** A redirection may point to and fro while nodes do not agree yet. */
const movedRetryMs = 20;

/** The pause before the `times`-th attempt to reconnect: 50 ms doubled up to a cap, less up to a quarter at random. */
export function reconnectPauseMs(times: number): number {
  const pauseMs = Math.min(longestPauseMs, 50 * 2 ** Math.min(times - 1, 10));
  return Math.ceil(pauseMs * (1 - Math.random() / 4));
}

/** A connection to a server that is no primary any more is given up, and the command sent to the one that is. */
function isDemoted({ message }: Error): 2 | false {
  return /READONLY You can't write|^UNBLOCKED /.test(message) ? 2 : false;
}

const always = {
  disconnectTimeout: hangUpWithinMs,
  connectTimeout: connectWithinMs,
  socketTimeout: silentForMs,
  maxLoadingRetryTime: loadingCheckMs,
  maxRetriesPerRequest: null,
} satisfies RedisOptions;

function singleOptions(address: Exclude<RedisAddress, { kind: 'cluster' }>): RedisOptions {
  const { kind: _, ...rest } = address;
  const common = { ...always, retryStrategy: reconnectPauseMs };
  if (address.kind !== 'sentinel') return { ...common, ...rest };
  const { kind: __, primary, tls, ...more } = address;
  return {
    ...common,
    ...more,
    name: primary,
    ...(tls && { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: reconnectPauseMs,
    reconnectOnError: isDemoted,
  };
}

/** The servers that may hold our data, each by itself: of a Cluster all its primaries. */
export function serversOf(client: Redis): { server: Redis; address: string | null }[] {
  if (!client.isCluster) return [{ server: client, address: null }];
  return (client as unknown as Cluster).nodes('master').map((node) => {
    return { server: node, address: `${node.options.host}:${node.options.port}` };
  });
}

export type AnyClient = SingleClient | OneSlotCluster;

export function createClient(address: RedisAddress, connectionName: string): AnyClient {
  if (address.kind !== 'cluster') return new SingleClient({ ...singleOptions(address), connectionName });
  const { username, password, tls } = address;
  const options = {
    clusterRetryStrategy: reconnectPauseMs,
    // How long a command is tried is not counted in redirections.
    maxRedirections: Number.MAX_SAFE_INTEGER,
    retryDelayOnFailover: clusterRetryMs,
    retryDelayOnClusterDown: clusterRetryMs,
    retryDelayOnTryAgain: clusterRetryMs,
    retryDelayOnMoved: movedRetryMs,
    slotsRefreshInterval: 10_000,
    slotsRefreshTimeout: connectWithinMs,
    redisOptions: {
      ...always,
      reconnectOnError: isDemoted,
      connectionName,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(tls && { tls }),
    },
    // Certificates are made out to names: these must not be replaced by addresses.
    ...(tls && { dnsLookup: ((host, done) => done(null, host)) satisfies ClusterOptions['dnsLookup'] }),
  } satisfies ClusterOptions;
  return new OneSlotCluster(address.nodes, options);
}
