/**
 * What goes wrong with a Redis that worked a moment ago, in words: it takes no more writes, forgot who we are, or went
 * away for good. What is wrong at the first contact is contact.ts.
 */
import { AppError, messageOf, type AppErrorCode } from '../errors.ts';

const goOn = 'then run the same command again; nothing done is lost';

type Row = { when: RegExp; code: AppErrorCode; what: string; cure: string };

const rows: Row[] = [
  {
    when: /\bMISCONF\b/,
    code: 'disk',
    what: 'cannot write its data to disk and takes no more; the disk is probably full',
    cure: 'free some space there',
  },
  {
    when: /\bOOM command not allowed\b/,
    code: 'redis',
    what: 'is out of memory (its maxmemory is reached)',
    cure: 'raise it, with: redis-cli CONFIG SET maxmemory …, or use a bigger one',
  },
  {
    when: /\bREADONLY\b/,
    code: 'redis',
    what: 'has become a replica, which takes no writes',
    cure: 'set the URL of its primary',
  },
  {
    when: /\bNOPERM\b/,
    code: 'redis',
    what: 'does not permit its user a command that is needed',
    cure: 'give the user +@read +@write +@transaction +eval +evalsha +time +info on the keys ~{<namespace>}:*',
  },
  {
    when: /^(MOVED|CROSSSLOT) /,
    code: 'redis',
    what: 'is one node of a Cluster',
    cure: 'write its URL as redis+cluster://host:port,…',
  },
  { when: /\b(NOAUTH|WRONGPASS)\b/, code: 'redis', what: 'now wants another password', cure: 'correct it in the URL' },
  {
    // Without replicas also a script's words, in the middle.
    when: /^(LOADING|MASTERDOWN|CLUSTERDOWN|BUSY)\b|\bNOREPLICAS\b/,
    code: 'redis',
    what: 'is not ready to serve',
    cure: 'wait until it is',
  },
];

let opened = 'Redis';

/** Which Redis this process uses, for its messages: `Redis at <URL without its password>`. */
export function nameRedis(shown: string): void {
  opened = shown;
}

export function lostForGood(): AppError {
  return new AppError('redis', `lost the ${opened}, and it does not come back; start it, ${goOn}`);
}

function isConnectionGivenUp(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return error.name === 'MaxRetriesPerRequestError' || error.message === 'Connection is closed.';
}

/** An error of the client or the server as an AppError (`redis`, `disk`); null for any other error. */
export function explainRedisError(error: unknown): AppError | null {
  // Not as its cause: the client's error carries its command's arguments.
  if (isConnectionGivenUp(error)) return lostForGood();
  const isReply = error instanceof Error && /ReplyError|SimpleError/.test(`${error.name} ${error.constructor.name}`);
  if (!isReply) return null;
  const row = rows.find(({ when }) => when.test(error.message));
  if (!row) return null;
  return new AppError(row.code, `the ${opened} ${row.what}; ${row.cure}, ${goOn} (it said: ${said(error)})`);
}

function said(error: unknown): string {
  const [line = ''] = messageOf(error).split('\n');
  return line.length > 120 ? `${line.slice(0, 120)}…` : line;
}
