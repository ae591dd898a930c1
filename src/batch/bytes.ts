/**
 * The bytes of an input file in blocks, decompressed where it is gzip. Owns the open file for as long as someone
 * iterates; constant memory. Errors are `input`: unreadable, or damaged gzip.
 */
import { constants, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import { fileInPlaceOf } from '../make-directory.ts';

/** Enough that the hop to the thread pool for each block costs little beside the work on it. */
const blockBytes = 512 * 1024;

export type ByteSource = {
  path: string;
  /** How the person named it, for messages. */
  source: string;
  /** gzip, by its magic bytes. */
  compressed: boolean;
};

export type ByteOptions = {
  /** Into the decompressed bytes. */
  fromOffset?: number;
  /** Sees the bytes as they lie on disk. */
  onRawBytes?: ((bytes: Buffer) => void) | undefined;
};

/** A block is valid until the next one is asked for. */
export async function* readBytes(file: ByteSource, options: ByteOptions = {}): AsyncGenerator<Buffer> {
  const fromOffset = options.fromOffset ?? 0;
  try {
    if (file.compressed) yield* decompress(file, fromOffset, options.onRawBytes);
    else yield* readRaw(file.path, fromOffset, options.onRawBytes, Buffer.allocUnsafeSlow(blockBytes));
  } catch (error) {
    throw describeReadError(file, error);
  }
}

async function* readRaw(
  path: string,
  fromOffset: number,
  onRawBytes: ByteOptions['onRawBytes'],
  reused: Buffer | null,
): AsyncGenerator<Buffer> {
  await using handle = await open(path, 'r');
  for (let position = fromOffset; ;) {
    const block = reused ?? Buffer.allocUnsafeSlow(blockBytes);
    const { bytesRead } = await handle.read(block, 0, block.length, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    const bytes = block.subarray(0, bytesRead);
    onRawBytes?.(bytes);
    yield bytes;
  }
}

/** Gzip has no index: to begin at an offset, what is before it is decompressed and dropped. */
async function* decompress(
  file: ByteSource,
  fromOffset: number,
  onRawBytes: ByteOptions['onRawBytes'],
): AsyncGenerator<Buffer> {
  // Fresh blocks: the decompressor still reads one while the next is being filled.
  const gunzip = createGunzip({ chunkSize: blockBytes });
  pipeline(readRaw(file.path, 0, onRawBytes, null), gunzip, () => {
    // An error destroys `gunzip` with it, and so reaches the loop below.
  });
  let skip = fromOffset;
  for await (const block of gunzip as AsyncIterable<Buffer>) {
    if (block.length > skip) yield skip === 0 ? block : block.subarray(skip);
    skip = Math.max(0, skip - block.length);
  }
}

/** Gives a failed open or read its cause and cure; passes errors of ours through. */
export function describeReadError(file: { path: string; source: string }, error: unknown): unknown {
  if (error instanceof AppError) return error;
  const code = systemErrorCode(error);
  const fail = (message: string) => new AppError('input', message, { cause: error });
  if (code === undefined) return error;
  if (code === 'ENOENT') return fail(`${file.source}: there is no such file; looked for ${file.path}`);
  if (code === 'EACCES' || code === 'EPERM') {
    return fail(`${file.source}: no permission to read it; ${permissionFor(file.path)}`);
  }
  if (code === 'ENOTDIR') {
    const inTheWay = fileInPlaceOf(dirname(file.path));
    return fail(`${file.source}: there is no such file: ${inTheWay} is a file, not a directory; correct the path`);
  }
  if (code === 'EISDIR') return fail(`${file.source} is a directory; name the file in it`);
  if (code === 'Z_BUF_ERROR') {
    return fail(`${file.source}: the gzip data ends too early; copy it again (gzip -t '${file.path}' tells)`);
  }
  if (code.startsWith('Z_')) {
    return fail(
      `${file.source}: the gzip data is damaged (${messageOf(error)}); copy it again (gzip -t '${file.path}' tells)`,
    );
  }
  return fail(`${file.source}: cannot be read: ${messageOf(error)}`);
}

/** Only its owner can change its mode; and the directories above it may be what is closed. */
function permissionFor(file: string): string {
  try {
    const stats = statSync(file);
    if (stats.uid === process.getuid?.() && (stats.mode & constants.S_IRUSR) === 0) {
      return `allow it with: chmod u+r '${file}'`;
    }
    return 'give this user read access to it';
  } catch {
    return 'give this user read access to it and to its directory';
  }
}
