/**
 * The first contact with a Redis: a few tries, then one error that names the cause and the cure. Later losses of the
 * connection are the client's to repair (connect.ts); here nothing has worked yet, and a person is waiting.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import type { Log } from '../log.ts';
import { tryOnce } from './first-try.ts';
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

type Diagnosis = { cause: string; cure: string; isFinal: boolean };
type Row = { when: RegExp; cause: string; cure: string; isFinal: boolean };

/** Matched, in this order, against the error's code and message. */
const rows: Row[] = [
  {
    when: /^NOPRIMARY/,
    cause: 'its Sentinels know no primary of that name',
    cure: 'correct the name in the URL; they tell theirs with: redis-cli -p 26379 SENTINEL MASTERS',
    isFinal: true,
  },
  {
    when: /^SENTINELAUTH/,
    cause: 'its Sentinels want a password of their own, or another one',
    cure: 'write it at the end of the URL (?sentinel_password=…, and &sentinel_username=… where they have users)',
    isFinal: true,
  },
  {
    when: /unknown command.*SENTINEL/i,
    cause: 'what answers there is no Sentinel',
    cure: 'name the ports of the Sentinels (usually 26379), or write redis:// where there are none',
    isFinal: true,
  },
  {
    when: /cluster support disabled/i,
    cause: 'it is no Cluster',
    cure: 'write redis:// instead of redis+cluster://',
    isFinal: true,
  },
  {
    when: /^CLUSTERDOWN/,
    cause: 'its Cluster is not whole (cluster_state:fail)',
    cure: 'start the nodes that are missing; see them with: redis-cli CLUSTER NODES',
    isFinal: false,
  },
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
    when: /certificate.required|handshake.failure/i,
    cause: 'it wants a certificate of its clients',
    cure: 'name yours in the URL (?cert=…&key=…)',
    isFinal: true,
  },
  {
    when: /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)/,
    cause: 'its TLS certificate is not trusted',
    cure:
      "name the file with its authority's certificate (NODE_EXTRA_CA_CERTS, or ?ca=… in the URL), " +
      'and use the host name it was made for',
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

/** What else may be the cause where TLS was asked for. */
const tlsCures = new Map([
  ['no answer', 'where it speaks no TLS write redis://'],
  // TLS 1.3 refuses a client when the connection is made already; then its alert may be lost.
  ['it closes the connection', 'where it wants a certificate of its clients name yours (?cert=…&key=…)'],
]);

/** Pure. `isTls`: TLS was asked for. */
export function diagnose(error: Error, isTls: boolean): Diagnosis {
  const text = `${systemErrorCode(error) ?? ''} ${error.name} ${error.message}`.trim();
  const row = rows.find(({ when }) => when.test(text) || when.test(error.message));
  if (!row) return { cause: `"${error.message}"`, cure: 'check the URL', isFinal: false };
  const also = isTls ? tlsCures.get(row.cause) : undefined;
  return { ...row, cure: also === undefined ? row.cure : `${row.cure}; ${also}` };
}
