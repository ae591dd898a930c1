/**
 * An input file, opened by path or spooled from stdin, known to be readable text before anything else starts. It is
 * read several times (validation, producer, resume), so what can be read once only is refused or spooled, and a file
 * that changes on the way is noticed.
 */
import { randomBytes, createHash } from 'node:crypto';
import { open, mkdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import type { Stats } from 'node:fs';
import { AppError, messageOf } from '../errors.ts';
import { describeReadError, readBytes } from './bytes.ts';
import { isGzip, looksLike } from './content.ts';
import type { RowsFile } from './rows.ts';

export type InputFile = {
  /** Absolute. */
  path: string;
  /** How the person named it: the path as given, or "standard input". */
  source: string;
  /** Of the batch, unless --name says otherwise: the file's name without `.jsonl` and `.gz`. */
  name: string;
  compressed: boolean;
  /** On disk. */
  sizeBytes: number;
  mtimeMs: number;
  inode: number;
  /** Set where it was rendered from rows (render.ts); then `source` and `name` are those of the person's file. */
  rendered?: RenderedFrom;
  /** Throws `input` when the file is no longer the one that was opened. */
  assertUnchanged: () => Promise<void>;
};

export type RenderedFrom = {
  /** As the person has it; null when a batch goes on, since it may be another file by then. */
  given: RowsFile | null;
  /** A copy beside the rendered file; there when somebody asked for the rows to be kept. */
  kept: RowsFile;
};

/** For messages: what the content should be, and of what there must be some. */
type Expected = { content: string; unit: string };
const requests: Expected = { content: 'JSONL text', unit: 'one JSON object per line' };

/**
 * Opens `source`, or with `-` spools `stdin` to `<spoolDir>/<sha256>.jsonl`: the same content is the same file, so the
 * same command goes on where it stopped. Errors: `input`, naming the file, what it is and what to do; `disk`.
 */
export async function openInput(
  source: string,
  options: { spoolDir: string; stdin?: Readable; expected?: Expected },
): Promise<InputFile> {
  const expected = options.expected ?? requests;
  if (source !== '-') return openPath(path.resolve(source), source, nameOf(source), expected);
  const { file, sha256 } = await spool(options.stdin ?? process.stdin, options.spoolDir);
  return openPath(file, 'standard input', `stdin-${sha256.slice(0, 12)}`, expected);
}

/** `dir/X.jsonl`, `X.jsonl.gz` and `X.csv` → `X`. */
function nameOf(source: string): string {
  const base = path.basename(source);
  return base.replace(/\.gz$/i, '').replace(/(?<=.)\.(jsonl|ndjson|csv|tsv)$/i, '') || base;
}

async function openPath(file: string, source: string, name: string, expected: Expected): Promise<InputFile> {
  const at = { path: file, source };
  const stats = await statInput(at, expected);
  const head = await readHead({ ...at, compressed: false });
  const compressed = isGzip(head);
  const content = looksLike(compressed ? await readHead({ ...at, compressed }) : head);
  if (content !== null)
    throw new AppError('input', `${source}: expected ${expected.content}, but it looks like ${content}`);
  return {
    path: file,
    source,
    name,
    compressed,
    sizeBytes: stats.size,
    mtimeMs: stats.mtimeMs,
    inode: stats.ino,
    assertUnchanged: () => assertUnchanged(at, stats),
  };
}

async function statInput(at: { path: string; source: string }, expected: Expected): Promise<Stats> {
  let stats: Stats;
  try {
    stats = await stat(at.path);
  } catch (error) {
    throw describeReadError(at, error);
  }
  if (stats.isDirectory()) throw new AppError('input', `${at.source} is a directory; name the file in it`);
  if (!stats.isFile()) {
    const cure = `give it as standard input: nightshift … - < ${at.source}`;
    throw new AppError(
      'input',
      `${at.source}: expected a file, got a pipe or a device, which can be read once only; ${cure}`,
    );
  }
  if (stats.size === 0) throw new AppError('input', `${at.source} is empty; expected ${expected.unit}`);
  return stats;
}

async function readHead(file: { path: string; source: string; compressed: boolean }): Promise<Buffer> {
  for await (const block of readBytes(file)) return block;
  return Buffer.alloc(0);
}

async function assertUnchanged(at: { path: string; source: string }, before: Stats): Promise<void> {
  const cure =
    'nothing done is lost: put the old file back and run the same command, or run the new one under another --name';
  let now: Stats;
  try {
    now = await stat(at.path);
  } catch (error) {
    throw new AppError('input', `${at.source} is gone while it was being read (${messageOf(error)}); ${cure}`, {
      cause: error,
    });
  }
  const change =
    now.size !== before.size
      ? `its size was ${before.size} bytes and is ${now.size}`
      : now.ino !== before.ino
        ? 'it was replaced by another file'
        : now.mtimeMs !== before.mtimeMs
          ? `it was written at ${now.mtime.toISOString()}`
          : null;
  if (change !== null) {
    throw new AppError('input', `${at.source} changed while it was being read (${change}); ${cure}`);
  }
}

async function spool(stdin: Readable, spoolDir: string): Promise<{ file: string; sha256: string }> {
  const hash = createHash('sha256');
  const temporary = path.join(spoolDir, `stdin-${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
  try {
    await mkdir(spoolDir, { recursive: true });
    // Prompts are nobody else's business.
    await using handle = await open(temporary, 'wx', 0o600);
    for await (const piece of stdin) {
      const bytes = typeof piece === 'string' ? Buffer.from(piece) : (piece as Buffer);
      hash.update(bytes);
      await handle.writeFile(bytes);
    }
    await handle.sync();
    const sha256 = hash.digest('hex');
    const file = path.join(path.resolve(spoolDir), `${sha256}.jsonl`);
    // Renamed only when whole: a file under its final name is complete. Replacing one of the same content would
    // look like a change to whoever is reading it.
    if (await exists(file)) await rm(temporary);
    else await rename(temporary, file);
    return { file, sha256 };
  } catch (error) {
    // A second failure would hide the first.
    await rm(temporary, { force: true }).catch(() => {});
    const cure = 'free some space, or choose another place with --data';
    throw new AppError('disk', `cannot keep standard input in ${spoolDir}: ${messageOf(error)}; ${cure}`, {
      cause: error,
    });
  }
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null)) !== null;
}
