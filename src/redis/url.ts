/**
 * Redis URLs: `redis://`, `rediss://` (TLS), `unix://`, each with user, password and database. Says what is wrong with
 * one, and writes one down for people without its password.
 */
import { isIP } from 'node:net';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import { AppError } from '../errors.ts';

export type RedisAddress = {
  host?: string;
  port?: number;
  /** Of a unix socket. */
  path?: string;
  username?: string;
  password?: string;
  db: number;
  tls?: TlsOptions;
};

const forms = 'redis://[user:password@]host[:port][/db], rediss://… for TLS, or unix:///path/to/socket[?db=N]';

/** Errors: `config`, naming the URL without its password. */
export function parseRedisUrl(text: string): RedisAddress {
  // `unix://user:password@/path` has no host; the URL standard wants one after credentials.
  const url = URL.parse(text.replace(/^(unix:\/\/[^/]*@)\//i, '$1localhost/'));
  const wrong = (what: string) =>
    new AppError(
      'config',
      `${what} in the Redis URL "${hidePassword(text)}" (REDIS_URL, --redis or redisUrl); expected ${forms}`,
    );
  if (!url) throw wrong('a missing or invalid host or port, or a password that is not percent-encoded,');
  const isUnix = url.protocol === 'unix:';
  if (!isUnix && url.protocol !== 'redis:' && url.protocol !== 'rediss:') throw wrong('unknown scheme');
  for (const name of url.searchParams.keys()) if (name !== 'db') throw wrong(`unknown parameter "${name}"`);
  if (url.hash !== '') throw wrong('a "#" that is not percent-encoded (%23)');
  const decode = (part: string) => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw wrong('a "%" that is not percent-encoded (%25)');
    }
  };
  if (isUnix && url.host !== '' && url.host !== 'localhost') throw wrong('a host (a third "/" is missing)');
  if (!isUnix && url.hostname === '') throw wrong('no host');
  const dbText = url.searchParams.get('db') ?? (isUnix ? '' : url.pathname.slice(1));
  if (!/^\d*$/.test(dbText)) throw wrong('a database that is not a number');
  const address: RedisAddress = { db: Number(dbText) };
  if (url.username !== '') address.username = decode(url.username);
  if (url.password !== '') address.password = decode(url.password);
  if (isUnix) {
    if (url.pathname.length < 2) throw wrong('no path');
    address.path = decode(url.pathname);
    return address;
  }
  address.host = url.hostname.replace(/^\[|\]$/g, '');
  address.port = url.port === '' ? 6379 : Number(url.port);
  // The name in the certificate; an address has none.
  if (url.protocol === 'rediss:') address.tls = isIP(address.host) ? {} : { servername: address.host };
  return address;
}

/** For people: works on text that is no URL too, and rather hides too much. */
export function hidePassword(text: string): string {
  const withoutQuery = text.replace(/([?&](?!db=)[^=&]*=)[^&]*/g, '$1***');
  const at = withoutQuery.lastIndexOf('@');
  if (at === -1) return withoutQuery;
  const scheme = /^[a-z]+:\/\//i.exec(withoutQuery)?.[0] ?? '';
  const user = withoutQuery.slice(scheme.length, at).split(':')[0] ?? '';
  const hasPassword = withoutQuery.slice(scheme.length, at).includes(':');
  return `${scheme}${hasPassword ? `${user}:***` : '***'}${withoutQuery.slice(at)}`;
}
