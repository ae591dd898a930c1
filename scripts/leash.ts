/**
 * A child process on a leash: it is asked to stop (SIGTERM) when we say so, and also when we end in whatever way, a
 * SIGKILL included. The leash is a pipe whose writing end only we hold; a small shell beside the child waits for its
 * end. The child is in a session of its own, so a Ctrl-C at the terminal reaches us alone, and we decide who stops when.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export type Leashed = {
  /** What it has printed on stdout so far; stays empty where stdout is inherited. */
  lines: string[];
  /** Resolves once there are so many lines. Errors: it ended first, or took longer than `longestWaitMs`. */
  untilLines: (count: number) => Promise<string[]>;
  /** SIGTERM; may be sent again. */
  terminate: () => void;
  /** The exit code (128 + signal where a signal ended it). */
  ended: Promise<number>;
};

const longestWaitMs = 30_000;

/** Every line on the leash, and its end, is a SIGTERM. */
const script = `
exec 3<&0
"$@" </dev/null 3<&- & child=$!
( while read -r _; do kill -TERM "$child"; done; kill -TERM "$child" ) <&3 2>/dev/null & leash=$!
exec 3<&-
wait "$child"; status=$?
kill "$leash" 2>/dev/null
exit "$status"
`;

/** Runs `node <args>`. Its stderr, and unless `readStdout` its stdout, are ours. */
export function startLeashed(args: string[], options: { env: NodeJS.ProcessEnv; readStdout?: boolean }): Leashed {
  const child = spawn('sh', ['-c', script, 'leash', process.execPath, ...args], {
    env: options.env,
    detached: true,
    stdio: ['pipe', options.readStdout ? 'pipe' : 'inherit', 'inherit'],
  });
  // One that has ended does not read its leash any more.
  child.stdin?.on('error', () => {});
  const lines: string[] = [];
  const news = new EventTarget();
  if (child.stdout) {
    createInterface(child.stdout).on('line', (line) => {
      lines.push(line);
      news.dispatchEvent(new Event('line'));
    });
  }
  let isRunning = true;
  const ended = once(child, 'close').then(([code, signal]) => {
    isRunning = false;
    news.dispatchEvent(new Event('line'));
    return typeof code === 'number' ? code : signal === null ? 1 : 128;
  });
  return {
    lines,
    ended,
    terminate: () => void child.stdin?.write('TERM\n'),
    async untilLines(count) {
      const timeout = AbortSignal.timeout(longestWaitMs);
      while (lines.length < count) {
        if (!isRunning) throw new Error(`${args.join(' ')} ended before it printed ${count} lines`);
        await once(news, 'line', { signal: timeout });
      }
      return lines.slice(0, count);
    },
  };
}
