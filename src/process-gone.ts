/**
 * Whether a process that left its machine and id somewhere has surely ended. Only those that this process could see can
 * be known: same machine, same boot, same PID namespace. A host name alone tells none of that: containers and cloned
 * machines share theirs.
 */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { systemErrorCode } from './errors.ts';

const marked = /\.[0-9a-f]{8}$/;

/** Once: who renames the machine does not make another of it. */
const machine = nameMachine();

/** Where this process runs, as it signs: the host's name and a mark of boot and PID namespace (`web-1.1a2b3c4d`). */
export function thisMachine(): string {
  return machine;
}

/** The host's name alone, for people. */
export function hostOf(signedMachine: string): string {
  return signedMachine.replace(marked, '');
}

function nameMachine(): string {
  const boot = wordOrNothing(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  const pidNamespace = wordOrNothing(() => readlinkSync('/proc/self/ns/pid'));
  // Not Linux: processes are the whole machine's.
  if (boot === '' && pidNamespace === '') return hostname();
  const mark = createHash('sha256').update(`${boot} ${pidNamespace}`).digest('hex').slice(0, 8);
  return `${hostname()}.${mark}`;
}

function wordOrNothing(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

/**
 * `isOurs`: whether what was left is held by this very process. Our own process id on something that is not ours is an
 * earlier life of it.
 */
export function isProcessGone(signedMachine: string | undefined, pid: string | undefined, isOurs: boolean): boolean {
  if (signedMachine !== machine || !pid) return false;
  if (Number(pid) === process.pid) return !isOurs;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return systemErrorCode(error) === 'ESRCH';
  }
}
