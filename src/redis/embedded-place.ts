/**
 * Where the embedded Redis of a data directory lives: `<dataDir>/redis/`, private to the user, and its socket. A socket
 * path longer than the kernel takes goes to the temporary directory; a link in the data directory then remembers where,
 * so that a process with another TMPDIR finds the same server.
 */
import { createHash } from 'node:crypto';
import { accessSync, constants, lstatSync, mkdirSync, readlinkSync, realpathSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import { makeDirectory } from '../make-directory.ts';

export type Place = {
  dir: string;
  socketPath: string;
  /** FIFO: held open for writing by every process that uses the server (embedded-lifeline.ts). */
  users: string;
  lockFile: string;
  logFile: string;
};

/** sockaddr_un holds 104 bytes on macOS and 108 on Linux. */
const longestSocketPathBytes = 100;

/** Creates the directories. Errors: `disk`, naming the directory. */
export function preparePlace(dataDir: string): Place {
  const wanted = path.join(dataDir, 'redis');
  let dir: string;
  try {
    makeDirectory(wanted, 0o700);
    // One server for one directory, whatever links lead to it.
    dir = realpathSync(wanted);
    accessSync(dir, constants.W_OK | constants.X_OK);
    return {
      dir,
      socketPath: placeSocket(dir),
      users: path.join(dir, 'users'),
      lockFile: path.join(dir, 'start.lock'),
      logFile: path.join(dir, 'redis.log'),
    };
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw diskError(`cannot use the data directory ${dataDir}`, cause);
  }
}

export function diskError(what: string, cause: unknown): AppError {
  const cures: Record<string, string> = {
    EACCES: 'make it writable, or choose another with --data',
    EROFS: 'it is on a read-only file system; choose another with --data',
    ENOSPC: 'the disk is full; make room, or choose another with --data',
    EDQUOT: 'the disk quota is spent; make room, or choose another with --data',
  };
  const cure = cures[systemErrorCode(cause) ?? ''] ?? 'choose another with --data';
  return new AppError('disk', `${what}: ${messageOf(cause)}; ${cure}`, { cause });
}

function placeSocket(dir: string): string {
  const near = path.join(dir, 'redis.sock');
  if (Buffer.byteLength(near) <= longestSocketPathBytes) return near;
  const hash = createHash('sha256').update(dir).digest('hex').slice(0, 16);
  const computed = path.join(os.tmpdir(), `nightshift-${hash}`, 'redis.sock');
  const link = path.join(dir, 'socket');
  let far = computed;
  try {
    symlinkSync(computed, link);
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error;
    far = readlinkSync(link);
  }
  makePrivateDirectory(path.dirname(far));
  return far;
}

/** The temporary directory is everybody's: a directory of that name that is not ours alone may be a trap. */
function makePrivateDirectory(dir: string): void {
  try {
    mkdirSync(dir, { mode: 0o700 });
  } catch (error) {
    if (systemErrorCode(error) !== 'EEXIST') throw error;
  }
  const found = lstatSync(dir);
  if (found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o077) === 0) return;
  throw new AppError(
    'disk',
    `expected ${dir} to be a directory that belongs to you alone; it is not. Remove it, or choose a shorter --data`,
  );
}
