/**
 * Moves ledger entries from their stream in Redis, where every answer's settle puts them, into the store. An entry
 * leaves Redis only after the store has committed it: a crash between the two repeats the chunk, which the primary key
 * absorbs. Each batch has a stream of its own, since batches of several ledgers may share a Redis; whoever runs the batch
 * drains it. Two at once do no harm.
 *
 *     settle ─► stream ─► read a chunk ─► insert, commit ─► delete the chunk
 *                              └─ not an entry ─► dead-letter stream, one error line in the log
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from '../redis/client.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import { explainRedisError } from '../redis/trouble.ts';
import { ledgerEntrySchema, type LedgerEntry } from './entry.ts';
import type { LedgerStore } from './store.ts';

/**
 * Each holds the calls of one settle, 64 at most: up to three megabytes from Redis and sixty milliseconds in SQLite. Big
 * enough to be fast, small enough not to hold anyone up.
 */
const chunkEntries = 100;
const retryMaxMs = 10_000;
/** Earlier failures may be a moment's: with the usual pauses, those of a second and a half. */
const toldAfterFailures = 2;
/** How long stopping waits for Redis; what it leaves behind, the next drain puts right. */
const stopGraceMs = 1000;

export type LedgerDrainOptions = {
  redis: Redis;
  names: Names;
  batchId: string;
  store: LedgerStore;
  log: Log;
  /** How often an empty stream is looked at. Default 500. */
  pollMs?: number;
};

type StreamEntry = [id: string, fields: string[]];

export function createLedgerDrain(options: LedgerDrainOptions): LedgerDrain {
  return new LedgerDrain(options);
}

export class LedgerDrain {
  readonly #redis: Redis;
  readonly #stream: string;
  readonly #deadLetters: string;
  readonly #store: LedgerStore;
  readonly #log: Log;
  readonly #pollMs: number;
  /** `stop` ends the waiting and takes no new chunk; `abandon`, a grace later, ends the commands under way. */
  #running: { stop: AbortController; abandon: AbortController; ended: Promise<void> } | null = null;

  constructor(options: LedgerDrainOptions) {
    this.#redis = options.redis;
    this.#stream = options.names.ledger(options.batchId);
    this.#deadLetters = options.names.ledgerDead;
    this.#store = options.store;
    this.#log = options.log;
    this.#pollMs = options.pollMs ?? 500;
  }

  /**
   * Moves one chunk, and returns how many entries left the stream. Errors: the store's (AppError `disk`) and Redis's;
   * nothing is lost by either.
   */
  async drainOnce(): Promise<number> {
    return this.#drainChunk(new AbortController().signal);
  }

  /** Moves everything that is in the stream now. Errors as `drainOnce`. */
  async flush(): Promise<void> {
    // A chunk that is not full has reached the end; entries that come after this call may be in it or not.
    while ((await this.drainOnce()) === chunkEntries);
  }

  /** At a batch's end: an empty stream leaves Redis. One that is not stays, for the next drain. */
  async forgetEmpty(): Promise<void> {
    await loadScript(this.#redis, 'forget.lua', import.meta.url)([this.#stream], []);
  }

  /** Drains from now on until `stop`, through outages of Redis and of the disk. */
  start(): void {
    if (this.#running) return;
    const stop = new AbortController();
    const abandon = new AbortController();
    this.#running = { stop, abandon, ended: this.#run(stop.signal, abandon.signal) };
  }

  /** Resolves once nothing is under way any more, even when Redis is away. What is in the stream stays there. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    const { stop, abandon, ended } = this.#running;
    this.#running = null;
    stop.abort();
    const grace = setTimeout(() => abandon.abort(), stopGraceMs);
    await ended;
    clearTimeout(grace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * A poll, not a blocking read: no second connection has to be kept alive through outages, and entries that trickle in
   * are committed together instead of with one fsync each.
   */
  async #run(stop: AbortSignal, abandon: AbortSignal): Promise<void> {
    let failures = 0;
    while (!stop.aborted) {
      let waitMs = this.#pollMs;
      try {
        if ((await this.#drainChunk(abandon)) === chunkEntries) waitMs = 0;
        if (failures > toldAfterFailures) this.#log.info({ failures }, 'ledger is drained again');
        failures = 0;
      } catch (error) {
        if (stop.aborted) return;
        // Once per trouble that lasts: the entries are safe in Redis meanwhile, and what ends a run is said by the run.
        // A Redis in trouble is reported by whoever runs a batch on it.
        const level = explainRedisError(error) ? 'debug' : 'error';
        if (failures === toldAfterFailures)
          this.#log[level]({ reason: messageOf(error) }, 'ledger cannot be drained, trying on');
        waitMs = Math.min(this.#pollMs * 2 ** failures, retryMaxMs);
        failures += 1;
      }
      await delay(waitMs, undefined, { signal: stop }).catch(() => {});
    }
  }

  async #drainChunk(abandon: AbortSignal): Promise<number> {
    const chunk = await unlessAborted(abandon, this.#redis.xrange(this.#stream, '-', '+', 'COUNT', chunkEntries));
    if (chunk.length === 0) return 0;
    const entries: LedgerEntry[] = [];
    const strangers: (Stranger & { id: string })[] = [];
    for (const [id, fields] of chunk) {
      for (let index = 0; index < fields.length; index += 2) {
        const parsed = parseEntry(fields.slice(index, index + 2));
        if ('reason' in parsed) strangers.push({ id, ...parsed });
        else entries.push(parsed);
      }
    }
    await this.#store.insert(entries);
    await unlessAborted(abandon, this.#remove(chunk, strangers));
    return chunk.length;
  }

  /** By id, not by trimming: what is deleted is exactly what was inserted, even after Redis came back from a backup. */
  async #remove(chunk: StreamEntry[], strangers: (Stranger & { id: string })[]): Promise<void> {
    const ids = chunk.map(([id]) => id);
    const [first] = strangers;
    if (!first) {
      await this.#redis.xdel(this.#stream, ...ids);
      return;
    }
    const deadLetter = this.#deadLetters;
    const transaction = this.#redis.multi();
    for (const { id, reason, fields } of strangers) {
      transaction.xadd(deadLetter, '*', 'id', id, 'reason', reason, ...fields);
    }
    transaction.xdel(this.#stream, ...ids);
    await transaction.exec();
    this.#log.error(
      { entries: strangers.length, firstId: first.id, reason: first.reason, stream: deadLetter },
      'ledger entries cannot be read and are set aside; were they written by a newer nightshift?',
    );
  }
}

type Stranger = { reason: string; fields: string[] };

/** The stream's contract: fields `e`, each with a JSON ledger entry. */
function parseEntry(fields: string[]): LedgerEntry | Stranger {
  const [name, json] = fields;
  if (name !== 'e' || json === undefined) return { reason: 'no field "e"', fields };
  try {
    const parsed = ledgerEntrySchema.safeParse(JSON.parse(json));
    if (parsed.success) return parsed.data;
    const reason = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
    return { reason, fields };
  } catch (error) {
    return { reason: messageOf(error), fields };
  }
}

/** A command waits for as long as Redis is away; stopping does not. */
async function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error('stopped'));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
