/**
 * An output or error file while results are appended to it. Its true size is the collector's commit, not what the file
 * system says: opening cuts off whatever a crash left behind it, and every write says where it goes. Somebody else's
 * hands on the file are noticed before anything is written after them.
 */
import { open, stat, type FileHandle } from 'node:fs/promises';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';

export type ResultFile = {
  /** Errors: `input` when the file was deleted, replaced or shortened since it was opened. */
  assertIntact: (sizeBytes: number) => Promise<void>;
  /** On disk when it resolves with the new size. Errors: `disk`. */
  append: (sizeBytes: number, text: string) => Promise<number>;
  close: () => Promise<void>;
};

/** Errors: `disk` when it cannot be opened, `input` when it is not the file that `sizeBytes` were written to. */
export async function openResultFile(path: string, sizeBytes: number): Promise<ResultFile> {
  let handle: FileHandle | null = null;
  try {
    // Created when nothing was written yet; a file that ought to be there is not made up.
    if (sizeBytes === 0) await (await open(path, 'a')).close();
    handle = await open(path, 'r+');
    const { size } = await handle.stat();
    if (size < sizeBytes) throw shortened(path, size, sizeBytes);
    if (size > sizeBytes) await handle.truncate(sizeBytes);
    return resultFile(path, handle);
  } catch (error) {
    await handle?.close();
    if (sizeBytes > 0 && systemErrorCode(error) === 'ENOENT') throw gone(path, sizeBytes);
    throw diskError(path, error);
  }
}

function resultFile(path: string, handle: FileHandle): ResultFile {
  return {
    async assertIntact(sizeBytes) {
      const [ours, there] = await Promise.all([
        handle.stat(),
        stat(path).catch((error: unknown) => {
          throw systemErrorCode(error) === 'ENOENT' ? gone(path, sizeBytes) : diskError(path, error);
        }),
      ]);
      if (ours.ino !== there.ino || ours.dev !== there.dev) throw gone(path, sizeBytes);
      // What is written behind a shortened file's end would follow on a hole.
      if (ours.size < sizeBytes) throw shortened(path, ours.size, sizeBytes);
    },
    async append(sizeBytes, text) {
      if (text === '') return sizeBytes;
      const bytes = Buffer.from(text);
      try {
        for (let done = 0; done < bytes.length;) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, sizeBytes + done);
          done += bytesWritten;
        }
        await handle.datasync();
      } catch (error) {
        throw diskError(path, error);
      }
      return sizeBytes + bytes.length;
    },
    close: () => handle.close(),
  };
}

const cureForChanged = 'Put it back, or move the batch\u2019s files away and run again to start anew';

function shortened(path: string, size: number, sizeBytes: number): AppError {
  return new AppError(
    'input',
    `${path} has ${size} bytes, but ${sizeBytes} were written to it: it was changed or replaced meanwhile. ` +
      cureForChanged,
  );
}

function gone(path: string, sizeBytes: number): AppError {
  return new AppError(
    'input',
    `${path}, with ${sizeBytes} bytes of results, was deleted, moved or replaced meanwhile. ${cureForChanged}`,
  );
}

/** What a failed system call on a result file means for the person. */
export function diskError(path: string, error: unknown): AppError {
  if (error instanceof AppError) return error;
  const cures: Record<string, string> = {
    ENOSPC: 'the disk is full: free some space',
    EDQUOT: 'the disk quota is used up: free some space',
    EFBIG: 'it would be larger than a file may be here: raise the limit (ulimit -f), or choose another disk with --out',
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
