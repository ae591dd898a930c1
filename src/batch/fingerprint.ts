/** Telling whether a file is still the one a batch was begun with: by its mark if possible, else by its content. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import type { InputFile } from './input.ts';

/** Changes when the file is written to or replaced. */
export function statMark({ sizeBytes, mtimeMs, inode }: Pick<InputFile, 'sizeBytes' | 'mtimeMs' | 'inode'>): string {
  return `${sizeBytes} ${mtimeMs} ${inode}`;
}

/** Hex. Of the bytes on disk, as in a Validation. */
export async function sha256OfFile(path: string): Promise<string> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(path), digest);
  return digest.digest('hex');
}
