/**
 * The lifeline between the embedded Redis and the processes that use it, kept by the kernel: no pid files, no polling.
 *
 *     users (FIFO)        every user holds it open for writing
 *       └─► keeper (sh)   reads until end-of-file, that is until no user is left, then stops the server
 *             redis-server
 *
 * A user that ends, by `kill -9` too, lets go of the FIFO; with the last one the keeper reads end-of-file and sends
 * TERM, and Redis saves and ends. Keeper and server hold the reading end, so "nobody reads the FIFO" (ENXIO) means that
 * both are gone, and only then may another server be started on the same files.
 *
 * Joining is a handshake: the joiner opens the FIFO, writes its name into it, and waits for the file `joined.<name>`.
 * The keeper makes that file inside its reading loop, and cannot leave the loop while the joiner holds on: a joiner that
 * sees the file has a server that stays, and never one whose last user left a moment ago.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, constants, existsSync, openSync, readSync, rmSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { systemErrorCode } from '../errors.ts';
import type { Place } from './embedded-place.ts';

const run = promisify(execFile);

/**
 * `true >file`, not `: >file`: a failed redirection of a special built-in would end the keeper without stopping the
 * server. The inner shell reads with a built-in, so that killing it leaves no `cat` behind.
 */
const keeperScript = `
exec 3<&0 </dev/null
"$@" &
server=$!
( while read -r user <&3; do true >"joined.$user"; done; kill -TERM "$server" ) &
watch=$!
wait "$server"; status=$?
kill "$watch" 2>/dev/null; wait "$watch" 2>/dev/null
exit "$status"
`;

export async function makeUsersFifo(file: string): Promise<void> {
  if (existsSync(file) && statSync(file).isFIFO()) return;
  rmSync(file, { force: true });
  await run('mkfifo', ['-m', '600', file]);
}

/** Becomes a user: the held descriptor, or null when nobody reads, that is no server runs. */
export function holdUsers(file: string): number | null {
  try {
    return openSync(file, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENXIO' || code === 'ENOENT') return null;
    throw error;
  }
}

export function isServed(file: string): boolean {
  const hold = holdUsers(file);
  if (hold !== null) closeSync(hold);
  return hold !== null;
}

/**
 * The handshake, for a user that holds on already. `kept`: the server stays. `ended`: it had been told to stop, and has
 * gone. `unanswered`: something reads the FIFO but it is no working keeper.
 */
export async function joinKeeper(
  place: Place,
  hold: number,
  patienceMs: number,
): Promise<'kept' | 'ended' | 'unanswered'> {
  const name = randomUUID();
  const answer = path.join(place.dir, `joined.${name}`);
  try {
    writeSync(hold, `${name}\n`);
    for (const deadlineMs = Date.now() + patienceMs; Date.now() < deadlineMs; await sleep(5)) {
      if (existsSync(answer)) return 'kept';
      if (!isServed(place.users)) return 'ended';
    }
    return 'unanswered';
  } catch (error) {
    if (systemErrorCode(error) === 'EPIPE') return 'ended';
    throw error;
  } finally {
    rmSync(answer, { force: true });
  }
}

/**
 * Starts keeper and server, in a session of their own: neither Ctrl-C in the terminal nor our end reaches them but
 * through the FIFO. Call it under the start lock, when nobody reads the FIFO.
 */
export function startKeeper(place: Place, command: string[]): { keeper: ChildProcess; hold: number } {
  const opened: number[] = [];
  const open = (file: string, flags: string | number, mode?: number) => {
    const descriptor = openSync(file, flags, mode);
    opened.push(descriptor);
    return descriptor;
  };
  try {
    // A FIFO's reading end opens at once only while somebody writes, and the writing end only while somebody reads.
    drain(open(place.users, constants.O_RDWR | constants.O_NONBLOCK));
    const reading = open(place.users, constants.O_RDONLY);
    const hold = openSync(place.users, constants.O_WRONLY | constants.O_NONBLOCK);
    // What the server says before it opens its log, a refused option above all, belongs there too.
    const log = open(place.logFile, 'a', 0o600);
    const keeper = spawn('sh', ['-c', keeperScript, 'nightshift-redis', ...command], {
      cwd: place.dir,
      detached: true,
      stdio: [reading, log, log],
    });
    keeper.unref();
    return { keeper, hold };
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

/** Reads what a joiner said to a keeper that had gone. End-of-file means that no writer is left. */
function drain(reading: number): { isAtEnd: boolean } {
  try {
    for (let bytes = 1; bytes > 0;) bytes = readSync(reading, Buffer.alloc(256));
    return { isAtEnd: true };
  } catch (error) {
    // Nothing to read, but somebody who may write.
    if (systemErrorCode(error) === 'EAGAIN') return { isAtEnd: false };
    throw error;
  }
}

/** Lets go, and tells whether nobody else holds on. Call it under the start lock, so that nobody is just joining. */
export function letGo(file: string, hold: number): { wasLast: boolean } {
  const reading = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  closeSync(hold);
  try {
    return { wasLast: drain(reading).isAtEnd };
  } finally {
    closeSync(reading);
  }
}
