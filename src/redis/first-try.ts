/**
 * One try to reach a Redis, of whatever kind: the server itself; a Sentinel, and then the primary that it names; any
 * node of a Cluster. Returns what went wrong, and judges nothing (contact.ts).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, type RedisOptions } from 'ioredis';
import { messageOf } from '../errors.ts';
import type { HostAndPort, RedisAddress } from './url.ts';

type Access = Pick<RedisOptions, 'host' | 'port' | 'path' | 'db' | 'username' | 'password' | 'tls'>;
type Sentinels = Extract<RedisAddress, { kind: 'sentinel' }>;

/** Null: it answers. */
export async function tryOnce(address: RedisAddress, withinMs: number): Promise<Error | null> {
  const { username, password, tls } = address;
  const access: Access = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls }),
  };
  switch (address.kind) {
    case 'server':
    case 'socket': {
      const { kind: _, ...options } = address;
      return tryServer(options, withinMs, (client) => greet(client, address.db));
    }
    case 'sentinel': {
      const primary = await findPrimary(address, withinMs);
      if (primary instanceof Error) return primary;
      return tryServer({ ...access, ...primary }, withinMs, (client) => greet(client, address.db));
    }
    case 'cluster':
      return firstThatAnswers(address.nodes, (node) => tryServer({ ...access, ...node }, withinMs, greetNode));
    default:
      return address satisfies never;
  }
}

async function firstThatAnswers(
  nodes: readonly HostAndPort[],
  ask: (node: HostAndPort) => Promise<Error | null>,
): Promise<Error | null> {
  let last: Error | null = null;
  for (const node of nodes) {
    last = await ask(node);
    if (last === null) return null;
  }
  return last;
}

async function findPrimary(address: Sentinels, withinMs: number): Promise<HostAndPort | Error> {
  const { sentinelUsername: username, sentinelPassword: password, tls } = address;
  const access: Access = { ...(username && { username }), ...(password && { password }), ...(tls && { tls }) };
  let found: HostAndPort | null = null;
  const error = await firstThatAnswers(address.sentinels, (sentinel) =>
    tryServer({ ...access, ...sentinel }, withinMs, async (client) => {
      await client.connect();
      const reply = await client.call('SENTINEL', 'get-master-addr-by-name', address.primary);
      if (!Array.isArray(reply)) throw new Error(`NOPRIMARY "${address.primary}"`);
      found = { host: String(reply[0]), port: Number(reply[1]) };
    }),
  );
  if (error && /^(NOAUTH|WRONGPASS)/.test(error.message)) return new Error(`SENTINELAUTH ${error.message}`);
  return found ?? error ?? new Error('no Sentinel answers');
}

async function tryServer(
  options: Access,
  withinMs: number,
  talk: (client: Redis) => Promise<void>,
): Promise<Error | null> {
  const client = new Redis({
    ...options,
    lazyConnect: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    retryStrategy: null,
    connectTimeout: withinMs,
  });
  let seen: Error | null = null;
  // The first is the cause, the ones after it ("Connection is closed") its consequences.
  client.on('error', (error: Error) => (seen ??= error));
  const timeout = new AbortController();
  try {
    const silence = sleep(withinMs, undefined, { signal: timeout.signal }).then(() => {
      throw Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' });
    });
    await Promise.race([talk(client), silence]);
    return null;
  } catch (error) {
    // A user who may not PING is a user all the same.
    if (messageOf(error).startsWith('NOPERM')) return null;
    return seen ?? (error instanceof Error ? error : new Error(String(error)));
  } finally {
    timeout.abort();
    client.disconnect();
  }
}

async function greet(client: Redis, db: number): Promise<void> {
  await client.connect();
  // The client itself swallows a refused database, and would go on in database 0.
  if (db !== 0) await client.select(db);
  await client.ping();
}

async function greetNode(client: Redis): Promise<void> {
  await client.connect();
  const info = await client.cluster('INFO');
  if (/^cluster_state:(?!ok)/m.test(info)) throw new Error('CLUSTERDOWN The cluster is down');
}
