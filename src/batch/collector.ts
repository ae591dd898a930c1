/**
 * The collector: one per batch, by lease. It appends results to the output and the error file, each exactly once:
 *
 *   read stream ─► write at the committed sizes ─► fdatasync ─► commit {stream id, sizes} ─► trim the stream
 *
 * After a crash the files are cut back to the committed sizes and the stream is read on from the committed id: no line
 * missing, none twice, none torn. Writes go to explicit offsets, the stream's order is fixed, and entries are read
 * together with the commit they follow on. So even a collector that slept through the loss of its lease can only write
 * the same bytes to the same places: where the stream was trimmed behind its back, it sees so and writes nothing.
 * However much waits in the stream, only so much is read and written at once that memory stays flat.
 */
import type { Redis } from '../redis/client.ts';
import { AppError } from '../errors.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import type { BatchFiles, Commit } from './batch.ts';
import { refuseOvertaken, type Hold } from './lease.ts';
import { openResultFile } from './result-file.ts';

export type Collector = {
  /** Reads once (waiting up to `blockMs` for something), writes and commits. Returns the lines added. */
  collectOnce: (blockMs: number) => Promise<number>;
  committed: () => Commit;
  /** Errors: as `collectOnce` when another process has taken the batch over, or has had it meanwhile. */
  assertOurs: () => Promise<void>;
  close: () => Promise<void>;
};

export type CollectorOptions = {
  redis: Redis;
  /** A connection of its own: reading blocks it. */
  blocking: Redis;
  names: Names;
  batchId: string;
  files: Pick<BatchFiles, 'outputFile' | 'errorFile'>;
  lease: Hold;
  commit: Commit;
};

const entriesPerRead = 1000;
/** While nothing is known of how long results are: an answer may have 64 MB (provider/exchange.ts). */
const entriesOfFirstRead = 10;
/** Of a thousand results only long ones come near it. One that is longer than this goes alone. */
const charsPerCommit = 16 * 1024 * 1024;

/**
 * Errors: `disk` when a file cannot be written, `input` when it was changed by somebody else, both with its name;
 * `usage` when the lease was lost; `redis` when Redis forgot a commit.
 */
export async function openCollector(options: CollectorOptions): Promise<Collector> {
  const { redis, blocking, names, batchId } = options;
  const script = loadScript(redis, 'commit.lua', import.meta.url);
  const output = await openResultFile(options.files.outputFile, options.commit.outputBytes);
  const errors = await openResultFile(options.files.errorFile, options.commit.errorBytes).catch(
    async (error: unknown) => {
      await output.close();
      throw error;
    },
  );
  let commit = options.commit;
  let entriesNext = entriesOfFirstRead;

  async function collectOnce(blockMs: number): Promise<number> {
    // XREAD only waits: its reply differs between protocol versions, XRANGE's does not.
    const results = names.results(batchId);
    if (blockMs > 0) await blocking.call('XREAD', 'COUNT', 1, 'BLOCK', blockMs, 'STREAMS', results, commit.streamId);
    const read = await readOn();
    const entries = firstOf(read);
    const last = entries.at(-1);
    if (!last) return 0;
    entriesNext = entriesFitting(read);
    await Promise.all([output.assertIntact(commit.outputBytes), errors.assertIntact(commit.errorBytes)]);
    const text = (to: string) => entries.map((entry) => (entry.to === to ? `${entry.text}\n` : '')).join('');
    const outputBytes = await output.append(commit.outputBytes, text('o'));
    const errorBytes = await errors.append(commit.errorBytes, text('e'));
    const next = { streamId: last.id, lines: commit.lines + entries.length, outputBytes, errorBytes };
    const reply = await script(
      [names.lease(batchId), names.batch(batchId), results],
      [options.lease.token, commit.streamId, last.id, idAfter(last.id), next.lines, outputBytes, errorBytes].map(
        String,
      ),
    );
    if (reply !== 'ok') {
      // Who has been overtaken says that, whatever else it found.
      await readOn();
      throw moved();
    }
    commit = next;
    return entries.length;
  }

  async function readOn(): Promise<Entry[]> {
    const { holder, last, committedId, entries } = await readAfter(commit.streamId);
    refuseOvertaken(batchId, options.lease, { holder, last });
    if (committedId !== commit.streamId) throw moved();
    return entries;
  }

  /** One transaction: entries that follow on a commit are all there only until the next commit trims them. */
  async function readAfter(id: string) {
    const replies = await blocking
      .multi()
      .get(names.lease(batchId))
      .get(names.lastHolder(batchId))
      .hget(names.batch(batchId), 'collectedId')
      .xrange(names.results(batchId), `(${id}`, '+', 'COUNT', entriesNext)
      .exec();
    const [holder, last, committedId, entries] = (replies ?? []).map(([error, value]) => {
      if (error) throw error;
      return value;
    });
    return {
      holder: holder as string | null,
      last: last as string | null,
      committedId: (committedId as string | null) ?? '0-0',
      // Fields in settle.lua's order: t <o|e> l <line> r <text>.
      entries: (entries as [string, string[]][]).map(([entryId, fields]): Entry => ({
        id: entryId,
        to: fields[1] ?? '',
        text: fields[5] ?? '',
      })),
    };
  }

  /** With the lease still ours (or nobody's since), it is not another collector that moved the commit. */
  function moved(): AppError {
    const cause = 'it may have been restarted from older data (is its append-only file on?)';
    return new AppError(
      'redis',
      `Redis no longer knows the last results written of ${batchId}: ${cause}, or another process collected meanwhile. ` +
        'Run the same command again: it goes on from what Redis and the files agree on',
    );
  }

  return {
    collectOnce,
    committed: () => commit,
    async assertOurs() {
      await readOn();
    },
    async close() {
      await Promise.all([output.close(), errors.close()]);
    },
  };
}

type Entry = { id: string; to: string; text: string };

/** How many of the same mean length make up a commit. */
function entriesFitting(entries: Entry[]): number {
  const chars = entries.reduce((sum, { text }) => sum + text.length, 0);
  return Math.min(entriesPerRead, Math.max(1, Math.floor((charsPerCommit / chars) * entries.length)));
}

/** As many as one commit takes, and the first in any case; the others are read again. */
function firstOf(entries: Entry[]): Entry[] {
  let chars = 0;
  const tooMany = entries.findIndex(({ text }) => (chars += text.length) > charsPerCommit);
  return tooMany === -1 ? entries : entries.slice(0, Math.max(1, tooMany));
}

/** The smallest stream id greater than `id`. */
function idAfter(id: string): string {
  const [ms = '0', sequence = '0'] = id.split('-');
  return `${ms}-${Number(sequence) + 1}`;
}
