/**
 * Redis URLs: one server (`redis://`, `unix://`), a primary behind Sentinels (`redis+sentinel://`), a Cluster
 * (`redis+cluster://`), each of the network ones with `rediss` for TLS. Says what is wrong with one, and writes one down
 * for people without its password. The forms with `+` are those that Python, Java and Go libraries know.
 */
import { isIP } from 'node:net';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import { AppError } from '../errors.ts';
import { readTlsFiles, tlsParameters } from './tls-files.ts';

export type HostAndPort = { host: string; port: number };

type Common = { username?: string; password?: string; tls?: TlsOptions };

export type RedisAddress =
  | (Common & { kind: 'server'; host: string; port: number; db: number })
  | (Common & { kind: 'socket'; path: string; db: number })
  | (Common & {
      kind: 'sentinel';
      sentinels: HostAndPort[];
      /** What the Sentinels call the group of a primary and its replicas. */
      primary: string;
      db: number;
      /** Of the Sentinels; user and password without a prefix are the servers'. */
      sentinelUsername?: string;
      sentinelPassword?: string;
    })
  | (Common & { kind: 'cluster'; nodes: HostAndPort[] });

const forms =
  'redis://[user:password@]host[:port][/db], unix:///path/to/socket[?db=N], ' +
  'redis+sentinel://[user:password@]host[:port],host[:port]/primary-name[/db], ' +
  'redis+cluster://[user:password@]host[:port],host[:port], ' +
  'or rediss://… (rediss+sentinel, rediss+cluster) for TLS';

const kinds: Record<string, { kind: RedisAddress['kind']; port: number }> = {
  'redis:': { kind: 'server', port: 6379 },
  'rediss:': { kind: 'server', port: 6379 },
  'unix:': { kind: 'socket', port: 0 },
  'redis+sentinel:': { kind: 'sentinel', port: 26379 },
  'rediss+sentinel:': { kind: 'sentinel', port: 26379 },
  'redis+cluster:': { kind: 'cluster', port: 6379 },
  'rediss+cluster:': { kind: 'cluster', port: 6379 },
};

const sentinelParameters = ['sentinel_username', 'sentinel_password'];

/** Errors: `config`, naming the URL without its password. Reads the files that `?ca=`, `cert=` and `key=` name. */
export function parseRedisUrl(text: string): RedisAddress {
  const wrong = (what: string) =>
    new AppError(
      'config',
      `${what} in the Redis URL "${hidePassword(text)}" (REDIS_URL, --redis or redisUrl); expected ${forms}`,
    );
  const { url, hosts } = splitHosts(text);
  if (!url) throw wrong('a missing or invalid host or port, or a password that is not percent-encoded,');
  const form = kinds[url.protocol];
  if (!form) throw wrong('unknown scheme');
  const { kind } = form;
  const isTls = url.protocol.startsWith('rediss');
  const known = [
    ...(kind === 'cluster' ? [] : ['db']),
    ...(isTls ? tlsParameters : []),
    ...(kind === 'sentinel' ? sentinelParameters : []),
  ];
  for (const name of url.searchParams.keys()) if (!known.includes(name)) throw wrong(`unknown parameter "${name}"`);
  if (url.hash !== '') throw wrong('a "#" that is not percent-encoded (%23)');
  const decode = (part: string) => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw wrong('a "%" that is not percent-encoded (%25)');
    }
  };
  const common: Common = {};
  if (url.username !== '') common.username = decode(url.username);
  if (url.password !== '') common.password = decode(url.password);
  const path = url.pathname.split('/').slice(1).map(decode);
  const dbOf = (inPath: string | undefined): number => {
    const db = url.searchParams.get('db') ?? inPath ?? '';
    if (!/^\d*$/.test(db)) throw wrong('a database that is not a number');
    return Number(db);
  };
  if (kind === 'socket') {
    if (url.host !== '' && url.host !== 'localhost') throw wrong('a host (a third "/" is missing)');
    if (url.pathname.length < 2) throw wrong('no path');
    return { kind, ...common, path: decode(url.pathname), db: dbOf('') };
  }
  const nodes = hosts.map((host) => {
    const node = parseHost(host, form.port);
    if (!node) throw wrong(hosts.length > 1 || host !== '' ? `"${host}" is no host` : 'no host');
    return node;
  });
  if (isTls) common.tls = readTlsFiles(url.searchParams, wrong);
  if (kind === 'cluster') {
    if (!['', '0'].includes(path.join('/'))) throw wrong('a database (a Cluster has only database 0)');
    return { kind, ...common, nodes };
  }
  if (kind === 'sentinel') {
    const [primary = '', db, ...more] = path;
    if (primary === '' || more.length > 0) throw wrong('no name of the primary behind the hosts');
    const [username, password] = sentinelParameters.map((name) => url.searchParams.get(name));
    return {
      kind,
      ...common,
      sentinels: nodes,
      primary,
      db: dbOf(db),
      ...(username && { sentinelUsername: username }),
      ...(password && { sentinelPassword: password }),
    };
  }
  const [server] = nodes as [HostAndPort];
  // The name in the certificate; an address has none.
  if (common.tls && !isIP(server.host)) common.tls.servername = server.host;
  return { kind, ...common, ...server, db: dbOf(path.join('/')) };
}

/** The URL standard knows one host: the list is taken out, and its first stays in. */
function splitHosts(text: string): { url: URL | null; hosts: string[] } {
  const parts = /^([a-z]+\+[a-z]+:\/\/(?:[^@/?#]*@)?)([^/?#]*)(.*)$/i.exec(text);
  if (parts) {
    const [, front = '', list = '', back = ''] = parts;
    const hosts = list.split(',');
    return { url: URL.parse(`${front}${hosts[0]}${back}`), hosts };
  }
  // `unix://user:password@/path` has no host; the standard wants one after credentials.
  const url = URL.parse(text.replace(/^(unix:\/\/[^/]*@)\//i, '$1localhost/'));
  return { url, hosts: [url?.host ?? ''] };
}

function parseHost(text: string, usualPort: number): HostAndPort | null {
  const url = URL.parse(`redis://${text}`);
  if (!url || url.hostname === '' || url.username !== '' || url.pathname !== '') return null;
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? usualPort : Number(url.port) };
}

/** Values that are no secrets. */
const shownParameters = ['db', ...tlsParameters].join('|');

/** For people: works on text that is no URL too, and rather hides too much. */
export function hidePassword(text: string): string {
  const withoutQuery = text.replace(new RegExp(`([?&](?!(?:${shownParameters})=)[^=&]*=)[^&]*`, 'g'), '$1***');
  const at = withoutQuery.lastIndexOf('@');
  if (at === -1) return withoutQuery;
  const scheme = /^[a-z+]+:\/\//i.exec(withoutQuery)?.[0] ?? '';
  const user = withoutQuery.slice(scheme.length, at).split(':')[0] ?? '';
  const hasPassword = withoutQuery.slice(scheme.length, at).includes(':');
  return `${scheme}${hasPassword ? `${user}:***` : '***'}${withoutQuery.slice(at)}`;
}
