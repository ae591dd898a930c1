/** The embedded Redis's own log: kept small, and quoted when the server does not start. */
import { existsSync, readFileSync, renameSync, statfsSync, statSync } from 'node:fs';
import { AppError } from '../errors.ts';
import type { Place } from './embedded-place.ts';

const rotateBytes = 1_048_576;
const quotedLines = 6;

/** Returns the log's size, which is where the next start's lines begin. One older log is kept. */
export function rotateLog(file: string): number {
  if (!existsSync(file)) return 0;
  const { size } = statSync(file);
  if (size <= rotateBytes) return size;
  renameSync(file, `${file}.old`);
  return 0;
}

/** Why a server that ended at once did so, in its own words. `ended` is its exit code or signal. */
export function startError(place: Place, server: string, ended: string, logStartBytes: number): AppError {
  const text = readFileSync(place.logFile).subarray(logStartBytes).toString('utf8').trim();
  const lines = text.split('\n').slice(-quotedLines);
  const said = text === '' ? 'It logged nothing.' : `Its last lines:\n  ${lines.join('\n  ')}`;
  const head = `${server} did not start in ${place.dir} (${ended}).`;
  // A full disk takes no log line either.
  if (statfsSync(place.dir).bavail === 0) return new AppError('disk', `${head} The disk is full. ${said}`);
  return new AppError('redis', `${head} ${said}\n(${place.logFile})`);
}
