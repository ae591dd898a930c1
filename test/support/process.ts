/** Processes of ours, for tests that kill them. Whatever a test does, they are gone after it. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { onTestFinished } from 'vitest';
import { waitFor } from './wait.ts';

export type TestProcess = {
  pid: number;
  child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** What it has written so far. */
  stdout(): string;
  stderr(): string;
  /** Resolves with the match once stdout and stderr together match; fails when the process ends first. */
  waitForOutput(pattern: RegExp, timeoutMs?: number): Promise<RegExpExecArray>;
  /** Resolves with the exit code, or the signal's name. */
  ended: Promise<number | string>;
  /** Sends the signal (default SIGKILL) and waits for the end. */
  kill(signal?: NodeJS.Signals): Promise<number | string>;
};

/** Runs `node <args>` (TypeScript is fine), `through` another command where one is given. Call it inside a test. */
export function startProcess(
  args: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; through?: string[] } = {},
): TestProcess {
  const [program = '', ...rest] = [...(options.through ?? []), process.execPath, ...args];
  const child = spawn(program, rest, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // One that is killed does not read its input any more.
  child.stdin.on('error', () => {});
  const ended = once(child, 'close').then(([code, signal]) => (signal ?? code) as number | string);
  let isRunning = true;
  void ended.then(() => (isRunning = false));
  const kill = (signal: NodeJS.Signals = 'SIGKILL') => {
    if (isRunning) child.kill(signal);
    return ended;
  };
  onTestFinished(async () => {
    await kill('SIGKILL');
  });
  return {
    pid: child.pid ?? 0,
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    async waitForOutput(pattern, timeoutMs = 15_000) {
      const match = () => pattern.exec(stdout + stderr);
      await waitFor(() => match() ?? !isRunning, { timeoutMs, what: `${args.join(' ')} prints ${pattern}` });
      const found = match();
      if (found) return found;
      throw new Error(`${args.join(' ')} ended without printing ${pattern}; it printed:\n${stdout}${stderr}`);
    },
    ended,
    kill,
  };
}
