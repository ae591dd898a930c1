/**
 * The embedded Redis: without a URL, a server from the PATH runs on the data directory for as long as any process of
 * ours uses it, and later commands on the same directory join it. It stops, saved, with its last user, however that
 * user ends (embedded-lifeline.ts); if the server dies under its users, `ensure` brings it back on its own file.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { holdUsers, isServed, joinKeeper, letGo, makeUsersFifo, startKeeper } from './embedded-lifeline.ts';
import { rotateLog, startError } from './embedded-log.ts';
import { diskError, type Place, preparePlace } from './embedded-place.ts';
import { probe } from './embedded-probe.ts';
import { findServer, serverOptions } from './embedded-server.ts';
import { takeStartLock } from './start-lock.ts';

/** Reading a big append-only file takes a while. */
const readyWithinMs = 60_000;
/** A starter holds the lock until its server is ready. */
const lockWithinMs = readyWithinMs + 30_000;
const keeperAnswersWithinMs = 15_000;
/** Leaving waits this long for the lock, and the last one this long for the server's end. */
const leaveLockWithinMs = 2_000;
const goneWithinMs = 10_000;

/** Errors: `redis` (no server program, too old, does not start) and `disk` (the directory). */
export async function openEmbeddedRedis(options: { dataDir: string; log: Log }): Promise<EmbeddedRedis> {
  if (process.platform === 'win32') {
    throw new AppError('redis', 'the embedded Redis needs Linux, macOS or WSL; here, set REDIS_URL or --redis');
  }
  const embedded = new EmbeddedRedis(preparePlace(options.dataDir), options.log);
  try {
    await embedded.ensure();
    return embedded;
  } catch (error) {
    await embedded.close();
    throw error;
  }
}

export class EmbeddedRedis implements AsyncDisposable {
  readonly #place: Place;
  readonly #log: Log;
  /** Our hold on the FIFO. */
  #hold: number | null = null;
  #keeper: ChildProcess | null = null;
  #pid = 0;
  #joined = false;
  #ensuring: Promise<void> | null = null;
  #closing: Promise<void> | null = null;

  /** For `openEmbeddedRedis`; use that. */
  constructor(place: Place, log: Log) {
    this.#place = place;
    this.#log = log;
  }

  /** The same for every server that runs on this directory, so that clients find the next one. */
  get socketPath(): string {
    return this.#place.socketPath;
  }

  get directory(): string {
    return this.#place.dir;
  }

  /** Of redis-server itself. */
  get pid(): number {
    return this.#pid;
  }

  /** Whether another process had started it. */
  get joined(): boolean {
    return this.#joined;
  }

  /** Returns when a server is there that stays as long as we do; starts one if need be. Calls at once share the work. */
  ensure(): Promise<void> {
    if (this.#closing) return Promise.reject(new AppError('redis', 'the embedded Redis is closed'));
    this.#ensuring ??= this.#ensure().finally(() => {
      this.#ensuring = null;
    });
    return this.#ensuring;
  }

  async #ensure(): Promise<void> {
    if (this.#hold !== null && (await probe(this.socketPath)).state === 'ready') return;
    using lock = await takeStartLock(this.#place.lockFile, lockWithinMs);
    if (!lock) {
      throw new AppError(
        'redis',
        `another nightshift has been starting the Redis in ${this.#place.dir} for ${lockWithinMs / 1000} s; see ${this.#place.logFile}`,
      );
    }
    while (!(await this.#join())) if (!isServed(this.#place.users)) return await this.#start();
  }

  /** False: no server that stays. */
  async #join(): Promise<boolean> {
    const hold = holdUsers(this.#place.users);
    if (hold === null) return false;
    // From here on it is ours to release; an older hold may be on a FIFO that has been replaced.
    this.#replaceHold(hold);
    const answer = await joinKeeper(this.#place, hold, keeperAnswersWithinMs);
    if (answer === 'ended') return false;
    if (answer === 'kept') {
      const isReady = await this.#untilReady(() => isServed(this.#place.users));
      if (isReady) this.#joined = true;
      return isReady;
    }
    const { pid } = await probe(this.socketPath);
    throw new AppError(
      'redis',
      `the Redis in ${this.#place.dir} runs without its keeper; end it (${pid ? `kill ${pid}` : 'its process'}) and try again`,
    );
  }

  async #start(): Promise<void> {
    const { dir, users, logFile } = this.#place;
    const server = await findServer();
    let logStartBytes: number;
    try {
      await makeUsersFifo(users);
      for (const name of readdirSync(dir)) if (name.startsWith('joined.')) rmSync(path.join(dir, name));
      logStartBytes = rotateLog(logFile);
    } catch (cause) {
      throw diskError(`cannot prepare ${dir} for Redis`, cause);
    }
    const { keeper, hold } = startKeeper(this.#place, [server, ...serverOptions(this.#place)]);
    this.#replaceHold(hold);
    let ended: string | null = null;
    keeper.on('error', (error) => (ended = error.message));
    keeper.on('exit', (code, signal) => (ended = signal ?? `exit code ${code}`));
    if (await this.#untilReady(() => ended === null)) {
      this.#keeper = keeper;
      this.#joined = false;
      this.#log.info({ pid: this.#pid, dir }, 'embedded Redis started');
      return;
    }
    throw startError(this.#place, server, String(ended), logStartBytes);
  }

  /** False when the server is gone before it is ready. */
  async #untilReady(isAlive: () => boolean): Promise<boolean> {
    let told = false;
    for (const deadlineMs = Date.now() + readyWithinMs; Date.now() < deadlineMs; await sleep(told ? 100 : 15)) {
      const { state, pid } = await probe(this.socketPath);
      if (state === 'ready') {
        this.#pid = pid ?? this.#pid;
        return true;
      }
      if (state === 'absent' && !isAlive()) return false;
      if (state === 'loading' && !told) {
        told = true;
        this.#log.info({ dir: this.#place.dir }, 'embedded Redis is reading its append-only file');
      }
    }
    throw new AppError(
      'redis',
      `the Redis in ${this.#place.dir} is not ready after ${readyWithinMs / 1000} s; its log is ${this.#place.logFile}`,
    );
  }

  /** The new hold before the end of the old one: there is never a moment without. */
  #replaceHold(hold: number | null): void {
    if (this.#hold !== null) closeSync(this.#hold);
    this.#hold = hold;
  }

  /** Lets go; the last user waits until the server has ended, so that nothing stays behind. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#ensuring?.catch(() => {});
    const hold = this.#hold;
    if (hold === null) return;
    this.#hold = null;
    const { users, lockFile, dir } = this.#place;
    using lock = await takeStartLock(lockFile, leaveLockWithinMs).catch(() => null);
    // Without the lock somebody is starting or joining, and will be the last user in our place.
    if (!lock || !existsSync(users)) return closeSync(hold);
    if (!letGo(users, hold).wasLast) return;
    const deadlineMs = Date.now() + goneWithinMs;
    while (isServed(users)) {
      if (Date.now() >= deadlineMs) {
        this.#log.warn({ pid: this.#pid, dir }, 'embedded Redis is still saving; leaving it to finish');
        return;
      }
      await sleep(15);
    }
    // Our own keeper is a zombie until its end is taken note of.
    const keeper = this.#keeper;
    if (keeper && keeper.exitCode === null && keeper.signalCode === null) {
      keeper.ref();
      await once(keeper, 'exit', { signal: AbortSignal.timeout(goneWithinMs) }).catch(() => {});
    }
  }
}
