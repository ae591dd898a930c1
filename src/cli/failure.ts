/**
 * How a command ends that fails: one message on stderr and one exit code. Operating errors say what to do. Whatever
 * else comes up here is a mistake of ours: it says so, shows its stack with --log-level debug, and ends the process at
 * once. That is safe at any moment: the embedded Redis ends with its last user, leases name a process that is gone,
 * and the next run goes on from there.
 */
import { CommanderError } from 'commander';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import { explainRedisError } from '../redis/trouble.ts';
import { erase, say } from './screen.ts';

/** BSD's "internal software error": none of the codes that scripts act on. */
const bugExitCode = 70;
/** What a failed command has left open, an idle connection perhaps, must not keep it alive for longer. */
const leaveWithinMs = 5000;

/** Says what is wrong and sets the exit code; after a mistake of ours it does not return. */
export function fail(error: unknown, options: { stack: boolean }): void {
  if (error instanceof CommanderError) {
    // Commander has printed its message already; help and version are no errors.
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  erase();
  const known = operatingErrorOf(error);
  if (known) {
    say(`nightshift: ${known.message}`);
    process.exitCode = known.exitCode;
    setTimeout(() => process.exit(), leaveWithinMs).unref();
    return;
  }
  const [what = ''] = messageOf(error).split('\n');
  const kind = error instanceof Error ? `${error.name}: ` : '';
  const hint = options.stack ? '' : '; please report it, with the stack that --log-level debug shows';
  say(`nightshift: this is a bug in nightshift: ${kind}${what}${hint}`);
  if (options.stack && error instanceof Error) say(String(error.stack));
  process.exit(bugExitCode);
}

/** Cleaning up after an error may fail as well, mostly for the same reason; the first error is the cause. */
function firstOf(error: unknown): unknown {
  return error instanceof SuppressedError ? firstOf(error.suppressed) : error;
}

/** What an error says of the world; null where it is a mistake of ours. */
export function operatingErrorOf(error: unknown): AppError | null {
  const first = firstOf(error);
  return first instanceof AppError ? first : (explainRedisError(first) ?? explainSystemError(first));
}

/** Of the machine's state, not of ours. */
const cures: Record<string, string> = {
  ENOSPC: 'the disk is full: free some space',
  EDQUOT: 'the disk quota is used up: free some space',
  EROFS: 'the file system is read-only: choose another place with --data or --out',
  EACCES: 'give this user access, or choose another place with --data or --out',
  EPERM: 'give this user access, or choose another place with --data or --out',
  EIO: 'check the disk',
  EMFILE: 'raise the limit of open files (ulimit -n), or lower --concurrency',
  ENFILE: 'the system has too many files open: close some',
  ENOMEM: 'the system is out of memory: lower --concurrency',
  EAGAIN: 'the system has no room for another process: end some',
};

function explainSystemError(error: unknown): AppError | null {
  const cure = cures[systemErrorCode(error) ?? ''];
  if (cure === undefined) return null;
  return new AppError('disk', `${messageOf(error)}; ${cure}, then run the same command again`, { cause: error });
}

/** For what leaves no way to go on, and none to end in good order. */
export function failNow(error: unknown, options = { stack: false }): never {
  fail(error, options);
  process.exit();
}

/** Errors that nobody waits for: something has stopped in its middle, and going on would be guessing. */
export function failOnUncaught(options: { stack: boolean }): void {
  process.on('uncaughtException', (error) => failNow(error, options));
}

/** `nightshift usage | head -1`: whoever reads no further is no error. */
export function endQuietlyWithoutReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (systemErrorCode(error) !== 'EPIPE') throw error;
    });
  }
}
