/**
 * The processes of a round: started with their output in files, ended by their own pid. None outlives the bench: beside
 * each waits a small shell that kills it when the bench's end of a pipe closes without a word.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

export type Child = {
  pid: number;
  isRunning: () => boolean;
  /** The exit code, or the signal's name. */
  ended: Promise<number | string>;
  signal: (name: NodeJS.Signals) => void;
  /** Asks it to stop; kills it when it does not. Resolves with whether it stopped by itself. */
  stop: (withinMs: number) => Promise<boolean>;
};

/** The command takes the place of the shell that started the watcher, so its process id is the one we know. */
const leashed = `( read -r _ <&3 || kill -KILL $$ ) >/dev/null 2>&1 & exec "$@" 3<&-`;

/** `logFile` gets stdout and stderr. */
export function startChild(command: string, args: string[], options: ChildOptions): Child {
  const log = openSync(options.logFile, 'a');
  const child = spawn('sh', ['-c', leashed, 'leash', command, ...args], {
    cwd: options.cwd,
    env: options.env,
    stdio: ['ignore', log, log, 'pipe'],
  });
  closeSync(log);
  const leash = child.stdio[3] as Writable;
  leash.on('error', () => {});
  // Not `close`: that waits for the watcher, which waits for us.
  const ended = once(child, 'exit').then(([code, signal]) => {
    leash.end('over\n', () => leash.destroy());
    return (signal ?? code) as number | string;
  });
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  return {
    pid: child.pid ?? 0,
    isRunning,
    ended,
    signal(name) {
      if (isRunning()) child.kill(name);
    },
    async stop(withinMs) {
      child.kill('SIGTERM');
      const isLate = new AbortController();
      const late = sleep(withinMs, 'late', { signal: isLate.signal }).catch(() => 'in time');
      const first = await Promise.race([ended, late]);
      isLate.abort();
      if (first !== 'late') return true;
      child.kill('SIGKILL');
      await ended;
      return false;
    },
  };
}

export type ChildOptions = { cwd: string; env: NodeJS.ProcessEnv; logFile: string };
