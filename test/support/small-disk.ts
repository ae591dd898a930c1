import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { onTestFinished } from 'vitest';

/** A file system of its own, until the test is over; false where we may not make one. */
export function mountSmallDisk(dir: string, sizeKiB: number): boolean {
  mkdirSync(dir);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeKiB}k`, 'tmpfs', dir]).status !== 0) return false;
  onTestFinished(() => void spawnSync('umount', ['-l', dir]));
  return true;
}
