/** Whether a process that left its host and id somewhere has surely ended. Only this machine's processes can be known. */
import { hostname } from 'node:os';
import { systemErrorCode } from './errors.ts';

/**
 * `isOurs`: whether what was left is held by this very process. Our own process id on something that is not ours is an
 * earlier life of it (a restarted container).
 */
export function isProcessGone(host: string | undefined, pid: string | undefined, isOurs: boolean): boolean {
  if (host !== hostname() || !pid) return false;
  if (Number(pid) === process.pid) return !isOurs;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'ESRCH';
  }
}
