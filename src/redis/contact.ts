/**
 * The first contact with a Redis: a few tries, then one error that names the cause and the cure. Later losses of the
 * connection are the client's to repair (connect.ts); here nothing has worked yet, and a person is waiting.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import type { Log } from '../log.ts';
import type { RedisAddress } from './url.ts';

export const giveUpAfterMs = 10_000;
const attemptWithinMs = 3_000;
const longestPauseMs = 1_000;
/** A server that reads a big file answers, but not yet to us. */
const loadedWithinMs = 60_000;

export type Contact = {
  address: RedisAddress;
  /** The URL without its password. */
  shown: string;
  log: Log;
  giveUpAfterMs?: number | undefined;
};

/** Errors: `redis`. What cannot get better by waiting (a wrong password, no TLS there) is not tried again. */
export async function firstContact(contact: Contact): Promise<void> {
  const startedMs = Date.now();
  const patienceMs = contact.giveUpAfterMs ?? giveUpAfterMs;
  let isLoading = false;
  for (let attempt = 1; ; attempt += 1) {
    const leftMs = startedMs + (isLoading ? loadedWithinMs : patienceMs) - Date.now();
    const error = await tryOnce(contact.address, Math.max(100, Math.min(attemptWithinMs, leftMs)));
    if (error === null) return;
    const { cause, cure, isFinal } = diagnose(error, contact.address.tls !== undefined);
    const pauseMs = Math.min(longestPauseMs, 50 * 2 ** attempt);
    if (isFinal || leftMs <= pauseMs) {
      // A new error for a cause: the client's own carries its command's arguments, and HELLO's are the password.
      throw new AppError('redis', `cannot use the Redis at ${contact.shown}: ${cause}; ${cure}`, {
        cause: new Error(messageOf(error)),
      });
    }
    if (!isLoading && error.message.startsWith('LOADING')) {
      isLoading = true;
      contact.log.info({ redis: contact.shown }, 'Redis is reading its data; waiting');
    }
    contact.log.debug({ redis: contact.shown, attempt, cause }, 'no contact with Redis yet');
    await sleep(pauseMs);
  }
}

async function tryOnce(address: RedisAddress, withinMs: number): Promise<Error | null> {
  const client = new Redis({
    ...address,
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
    await Promise.race([greet(client, address.db), silence]);
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

type Diagnosis = { cause: string; cure: string; isFinal: boolean };
type Row = { when: RegExp; cause: string; cure: string; isFinal: boolean };

/** Matched, in this order, against the error's code and message. */
const rows: Row[] = [
  {
    when: /WRONGPASS|invalid password|invalid username/i,
    cause: 'it refuses the user or the password',
    cure: 'correct them in the URL (redis://user:password@host; percent-encode special characters)',
    isFinal: true,
  },
  {
    when: /NOAUTH|without any password|no password is set/i,
    cause: 'it wants a password, or does not want the one given',
    cure: 'write the URL as redis://:password@host or redis://user:password@host, or without where it has none',
    isFinal: true,
  },
  {
    when: /DB index|SELECT is not allowed/i,
    cause: 'it has no such database',
    cure: 'correct the number at the end of the URL, or leave it out',
    isFinal: true,
  },
  {
    when: /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/,
    cause: 'its TLS certificate is not trusted',
    cure: "set NODE_EXTRA_CA_CERTS to the file with its authority's certificate, and use the name it was made for",
    isFinal: true,
  },
  {
    when: /EPROTO|ERR_SSL|wrong version number|packet length too long/i,
    cause: 'it does not speak TLS on this port',
    cure: 'write redis:// instead of rediss://, or use its TLS port',
    isFinal: true,
  },
  {
    when: /Protocol error|ParserError|RESP type/i,
    cause: 'what answers there does not speak the Redis protocol',
    cure: 'correct host and port; where the port speaks TLS write rediss://',
    isFinal: true,
  },
  { when: /^LOADING/, cause: 'it is still reading its data', cure: 'try again later', isFinal: false },
  {
    when: /ECONNREFUSED/,
    cause: 'nothing listens there',
    cure: 'start it, or correct host and port',
    isFinal: false,
  },
  {
    when: /ENOTFOUND|EAI_AGAIN/,
    cause: 'the host name is not known',
    cure: 'correct the host, or check the network',
    isFinal: false,
  },
  { when: /ENOENT/, cause: 'there is no such socket', cure: 'start it, or correct the path', isFinal: false },
  {
    when: /EACCES|EPERM/,
    cause: 'the socket is not for this user',
    cure: 'set its unixsocketperm, or run as its user',
    isFinal: true,
  },
  {
    when: /max number of clients/,
    cause: 'it has no room for another client',
    cure: 'raise its maxclients',
    isFinal: false,
  },
  {
    when: /ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/,
    cause: 'no answer',
    cure: 'check host, port and firewall',
    isFinal: false,
  },
  {
    when: /ECONNRESET|EPIPE|Connection is closed/,
    cause: 'it closes the connection',
    cure: 'check the port; where it speaks TLS write rediss://, and where it does not redis://',
    isFinal: false,
  },
];

/** Pure. `isTls`: TLS was asked for; silence then often means that the other side waits for plain text. */
export function diagnose(error: Error, isTls: boolean): Diagnosis {
  const text = `${systemErrorCode(error) ?? ''} ${error.name} ${error.message}`.trim();
  const row = rows.find(({ when }) => when.test(text) || when.test(error.message));
  if (!row) return { cause: `"${error.message}"`, cure: 'check the URL', isFinal: false };
  const isSilent = isTls && row.cause === 'no answer';
  return { ...row, cure: isSilent ? `${row.cure}; where it speaks no TLS write redis://` : row.cure };
}
