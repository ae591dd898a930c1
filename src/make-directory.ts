/** Making a directory and those above it. */
import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { systemErrorCode } from './errors.ts';

/**
 * As `mkdirSync` with `recursive`, which never returns where a file system denies that the parent it shows is there
 * (`/proc`). `mode` is for those it makes. Errors: the system's.
 */
export function makeDirectory(dir: string, mode = 0o777): void {
  const missing: string[] = [];
  let at = path.resolve(dir);
  while (!statSync(at, { throwIfNoEntry: false })) {
    missing.push(at);
    at = path.dirname(at);
  }
  for (const one of missing.toReversed()) {
    try {
      mkdirSync(one, { mode });
    } catch (error) {
      // Somebody else may be making the same ones.
      if (systemErrorCode(error) !== 'EEXIST') throw error;
    }
  }
  // A file in its place, or above it, gives the system's own error.
  if (missing.length === 0) mkdirSync(dir, { recursive: true });
}

/** Of a path and those above it, the file that stands where a directory should; or null. */
export function fileInPlaceOf(dir: string): string | null {
  let at = path.resolve(dir);
  for (;;) {
    const stats = statSync(at, { throwIfNoEntry: false });
    if (stats) return stats.isDirectory() ? null : at;
    at = path.dirname(at);
  }
}
