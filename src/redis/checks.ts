/**
 * What nightshift needs of a Redis, checked at start (design: "Redis"): new enough, writable, never evicting, and
 * preferably with an append-only file. The judgement is pure, on the text of INFO; `checkServer` asks and waits.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { serversOf, type Redis } from './client.ts';
import { AppError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';

/** The first with `XAUTOCLAIM`, `LMOVE` and `GETDEL`; BullMQ asks for it too. */
export const oldestVersion = '6.2';

export type ServerFacts = {
  product: 'redis' | 'valkey' | 'dragonfly';
  /** The product's own version. */
  version: string;
  /** What it is compatible with: Valkey 8 says 7.2.4. */
  redisVersion: string;
  /** A Sentinel answers as a Redis does, and a Cluster's node too. */
  mode: 'standalone' | 'cluster' | 'sentinel';
  role: string;
  isReadOnlyReplica: boolean;
  isLoading: boolean;
  isAppendOnly: boolean;
  /** Whether its last write to the append-only file worked. */
  isAppendHealthy: boolean;
  /** Null when it does not tell (some hosted services). */
  evictionPolicy: string | null;
};

/** A server that reads its file may take this long. */
const loadedWithinMs = 60_000;
const appendsWithinMs = 3000;
const cannotAppend =
  'Redis cannot write its append-only file and takes no more; its disk is probably full: free some space there, ' +
  'then run the same command again; nothing done is lost';
const warned = new WeakSet<Redis>();

/**
 * Errors: `redis`, `disk`, with the cure. Warns, once per client, about a server that may forget. Of a Cluster, every
 * primary is looked at: the namespace's slot may move to any of them.
 */
export async function checkServer(client: Redis, log: Log): Promise<ServerFacts> {
  const all: ServerFacts[] = [];
  for (const { server, address } of serversOf(client)) {
    const facts = await untilFit(server, log);
    const { refusal, warnings } = judge(facts, client.isCluster);
    const at = address === null ? '' : `node ${address} of the Cluster: `;
    if (refusal !== null) throw new AppError('redis', at + refusal);
    if (!warned.has(client)) for (const warning of warnings) log.warn(at + warning);
    all.push(facts);
  }
  warned.add(client);
  const [first] = all;
  if (!first) throw new AppError('redis', 'the Cluster has no primary; see its nodes with: redis-cli CLUSTER NODES');
  return first;
}

/** Waits for what gets better by itself. */
async function untilFit(client: Redis, log: Log): Promise<ServerFacts> {
  let facts = await askFacts(client);
  if (facts.isLoading) log.info('Redis is reading its data; waiting');
  for (const deadlineMs = Date.now() + loadedWithinMs; facts.isLoading; facts = await askFacts(client)) {
    if (Date.now() >= deadlineMs) {
      throw new AppError('redis', `Redis is still reading its data after ${loadedWithinMs / 1000} s; try again later`);
    }
    await sleep(250);
  }
  // It tries again every second by itself: the space may be there meanwhile.
  for (const deadlineMs = Date.now() + appendsWithinMs; !facts.isAppendHealthy; facts = await askFacts(client)) {
    if (Date.now() >= deadlineMs) throw new AppError('disk', cannotAppend);
    await sleep(250);
  }
  return facts;
}

async function askFacts(client: Redis): Promise<ServerFacts> {
  let info: string;
  try {
    info = await client.info();
  } catch (cause) {
    const message = `expected an answer to INFO from Redis, got "${messageOf(cause)}"; the user needs the permission +info`;
    throw new AppError('redis', message, { cause });
  }
  return readFacts(info, await askEvictionPolicy(client));
}

/** Null where CONFIG is forbidden or renamed; INFO tells it too, on servers that have it there. */
async function askEvictionPolicy(client: Redis): Promise<string | null> {
  try {
    const reply = (await client.config('GET', 'maxmemory-policy')) as unknown;
    return Array.isArray(reply) && typeof reply[1] === 'string' ? reply[1] : null;
  } catch {
    return null;
  }
}

/** INFO's `name:value` lines. */
export function parseInfo(info: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of info.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return fields;
}

export function readFacts(info: string, configuredPolicy: string | null): ServerFacts {
  const fields = parseInfo(info);
  const product = fields.has('valkey_version') ? 'valkey' : fields.has('dragonfly_version') ? 'dragonfly' : 'redis';
  const redisVersion = fields.get('redis_version') ?? '';
  const role = fields.get('role') ?? 'master';
  return {
    product,
    version: fields.get(`${product}_version`) ?? redisVersion,
    redisVersion,
    mode: modeOf(fields),
    role,
    // A replica that may be written to would lose the writes at its next sync: as bad.
    isReadOnlyReplica: role === 'slave' || role === 'replica',
    isLoading: (fields.get('loading') ?? '0') !== '0',
    isAppendOnly: fields.get('aof_enabled') === '1',
    isAppendHealthy: (fields.get('aof_last_write_status') ?? 'ok') === 'ok',
    evictionPolicy: configuredPolicy ?? fields.get('maxmemory_policy') ?? null,
  };
}

/** Valkey has its own word for it. */
function modeOf(fields: ReadonlyMap<string, string>): ServerFacts['mode'] {
  const mode = fields.get('redis_mode') ?? fields.get('server_mode');
  return mode === 'cluster' || mode === 'sentinel' ? mode : 'standalone';
}

/**
 * What is wrong with a server: one reason to refuse it, or things to warn about. `isClusterClient`: it is talked to as a
 * part of its Cluster.
 */
export function judge(facts: ServerFacts, isClusterClient = false): { refusal: string | null; warnings: string[] } {
  const refuse = (refusal: string) => ({ refusal, warnings: [] });
  if (!isVersionSupported(facts.redisVersion)) {
    return refuse(
      `expected Redis ${oldestVersion} or newer (or Valkey), this one is ${facts.redisVersion || 'nameless'}; ` +
        'update it, or use another (REDIS_URL, --redis)',
    );
  }
  if (facts.mode === 'sentinel') {
    return refuse(
      'this is a Sentinel, which keeps no data; write its URL as redis+sentinel://host:26379,…/primary-name',
    );
  }
  if (facts.mode === 'cluster' && !isClusterClient) {
    return refuse('this Redis is one node of a Cluster; write its URL as redis+cluster://host:port,…');
  }
  if (facts.isReadOnlyReplica) {
    return refuse('this Redis is a replica, which takes no writes that last; set the URL of its primary');
  }
  if (facts.evictionPolicy !== null && facts.evictionPolicy !== 'noeviction') {
    return refuse(
      `this Redis may throw data away when its memory is full (maxmemory-policy is ${facts.evictionPolicy}); ` +
        'set it with: redis-cli CONFIG SET maxmemory-policy noeviction (and in redis.conf), or use another Redis',
    );
  }
  const warnings: string[] = [];
  if (facts.evictionPolicy === null) {
    warnings.push('this Redis does not tell its maxmemory-policy; make sure it is noeviction');
  }
  if (!facts.isAppendOnly) {
    warnings.push(
      'this Redis keeps no append-only file and may forget the last minutes when it restarts; ' +
        'set it with: redis-cli CONFIG SET appendonly yes (and in redis.conf)',
    );
  }
  if (!facts.isAppendHealthy) warnings.push('this Redis cannot write its append-only file; is its disk full?');
  return { refusal: null, warnings };
}

export function isVersionSupported(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = oldestVersion.split('.').map(Number);
  return major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
}
