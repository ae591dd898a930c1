/**
 * The collector: one per batch, by lease. It appends results to the output and the error file, each exactly once:
 *
 *   read stream ─► write at the committed sizes ─► fdatasync ─► commit {stream id, sizes} ─► trim the stream
 *
 * After a crash the files are cut back to the committed sizes and the stream is read on from the committed id: no line
 * missing, none twice, none torn. Writes go to explicit offsets and the stream's order is fixed, so even a collector
 * that slept through the loss of its lease can only write the same bytes to the same places; its commit is refused.
 */
import { open, type FileHandle } from 'node:fs/promises';
import type { Redis } from 'ioredis';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import type { BatchFiles, Commit } from './batch.ts';

export type Collector = {
  /** Reads once (waiting up to `blockMs` for something), writes and commits. Returns the lines added. */
  collectOnce: (blockMs: number) => Promise<number>;
  committed: () => Commit;
  close: () => Promise<void>;
};

export type CollectorOptions = {
  redis: Redis;
  /** A connection of its own: reading blocks it. */
  blocking: Redis;
  names: Names;
  batchId: string;
  files: Pick<BatchFiles, 'outputFile' | 'errorFile'>;
  leaseToken: string;
  commit: Commit;
};

const entriesPerRead = 1000;

/** Errors: `disk` when a file cannot be written, with its name; `usage` when the lease was lost. */
export async function openCollector(options: CollectorOptions): Promise<Collector> {
  const { redis, blocking, names, batchId } = options;
  const script = loadScript(redis, 'commit.lua', import.meta.url);
  const output = await openAt(options.files.outputFile, options.commit.outputBytes);
  const errors = await openAt(options.files.errorFile, options.commit.errorBytes);
  let commit = options.commit;

  async function collectOnce(blockMs: number): Promise<number> {
    const entries = await readEntries(blocking, names.results(batchId), commit.streamId, blockMs);
    const last = entries.at(-1);
    if (!last) return 0;
    const text = (to: string) => entries.map((entry) => (entry.to === to ? `${entry.text}\n` : '')).join('');
    const outputBytes = await writeAt(output, commit.outputBytes, text('o'));
    const errorBytes = await writeAt(errors, commit.errorBytes, text('e'));
    const next = { streamId: last.id, lines: commit.lines + entries.length, outputBytes, errorBytes };
    const ours = await script(
      [names.lease(batchId), names.batch(batchId), names.results(batchId)],
      [options.leaseToken, last.id, idAfter(last.id), String(entries.length), String(outputBytes), String(errorBytes)],
    );
    if (ours !== 1) {
      throw new AppError('usage', `another process took ${batchId} over; this one stops, nothing is lost`);
    }
    commit = next;
    return entries.length;
  }

  return {
    collectOnce,
    committed: () => commit,
    async close() {
      await Promise.all([output.handle.close(), errors.handle.close()]);
    },
  };
}

type OpenFile = { path: string; handle: FileHandle };

async function openAt(path: string, sizeBytes: number): Promise<OpenFile> {
  try {
    // Read-write without truncation; created when missing.
    const handle = await open(path, 'a+').then(async (created) => {
      await created.close();
      return open(path, 'r+');
    });
    const { size } = await handle.stat();
    if (size < sizeBytes) {
      await handle.close();
      throw new AppError(
        'input',
        `${path} has ${size} bytes, but ${sizeBytes} were written to it: it was changed or replaced meanwhile. ` +
          'Put it back, or move the batch\u2019s files away and run again to start anew',
      );
    }
    if (size > sizeBytes) await handle.truncate(sizeBytes);
    return { path, handle };
  } catch (error) {
    throw diskError(path, error);
  }
}

async function writeAt({ path, handle }: OpenFile, offset: number, text: string): Promise<number> {
  if (text === '') return offset;
  const bytes = Buffer.from(text);
  try {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
      done += bytesWritten;
    }
    await handle.datasync();
  } catch (error) {
    throw diskError(path, error);
  }
  return offset + bytes.length;
}

function diskError(path: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  const cures: Record<string, string> = {
    ENOSPC: 'the disk is full: free some space',
    EDQUOT: 'the disk quota is used up: free some space',
    EACCES: 'no permission to write: choose another directory with --out',
    EROFS: 'the file system is read-only: choose another directory with --out',
    EISDIR: 'it is a directory: choose another --name or --out',
    ENOENT: 'its directory is gone',
  };
  const cure = cures[systemErrorCode(error) ?? ''] ?? messageOf(error);
  return new AppError('disk', `cannot write ${path}: ${cure}, then run the same command again; nothing done is lost`, {
    cause: error,
  });
}

type Entry = { id: string; to: string; text: string };

async function readEntries(redis: Redis, stream: string, after: string, blockMs: number): Promise<Entry[]> {
  // XREAD only waits: its reply differs between protocol versions, XRANGE's does not.
  if (blockMs > 0) await redis.call('XREAD', 'COUNT', 1, 'BLOCK', blockMs, 'STREAMS', stream, after);
  const entries = await redis.xrange(stream, `(${after}`, '+', 'COUNT', entriesPerRead);
  // Fields in settle.lua's order: t <o|e> l <line> r <text>.
  return entries.map(([id, fields]) => ({ id, to: fields[1] ?? '', text: fields[5] ?? '' }));
}

/** The smallest stream id greater than `id`. */
function idAfter(id: string): string {
  const [ms = '0', sequence = '0'] = id.split('-');
  return `${ms}-${Number(sequence) + 1}`;
}
