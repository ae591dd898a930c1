/** The command as a process, in a directory of its own that is gone when the test is over. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { startProcess, type TestProcess } from '../support/process.ts';
import { waitFor } from '../support/wait.ts';

export type Ended = { code: number | string; stdout: string; stderr: string };

export type Processes = {
  start: (args: string[]) => TestProcess;
  /** Runs to the end; `stdin` is given whole. */
  nightshift: (args: string[], options?: { stdin?: string }) => Promise<Ended>;
  /** Until the providers have received so many completion calls. */
  untilCalls: (calls: number, running?: TestProcess) => Promise<void>;
};

const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');
/** What the person has set is not for tests. */
const noKeys = Object.fromEntries(
  ['PMIND', 'CM_API', 'OPENAI_API']
    .flatMap((name) => [`${name}_KEY`, `${name}_KEYS`])
    .concat('PMIND_BASE_URL', 'CM_BASE_URL', 'OPENAI_BASE_URL', 'REDIS_URL')
    .map((name) => [name, '']),
);

/** `beforeGone`: closes what still works in it. */
export function makeDirectory(beforeGone: () => Promise<void>): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-e2e-'));
  onTestFinished(async () => {
    await beforeGone();
    // A Redis whose last user was killed is still saving.
    rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
  return dir;
}

/** `env` is read anew for each process; `callsSeen`: by the providers, so far. */
export function processesIn(dir: string, env: Record<string, string>, callsSeen: () => number): Processes {
  const start = (args: string[]) => startProcess([command, ...args], { cwd: dir, env: { ...noKeys, ...env } });
  return {
    start,
    async nightshift(args, { stdin = '' } = {}) {
      const process = start(args);
      process.child.stdin.end(stdin);
      return endOf(process);
    },
    async untilCalls(calls, running) {
      let isOver = false;
      void running?.ended.then(() => (isOver = true));
      const what = `the providers have received ${calls} calls`;
      await waitFor(() => isOver || callsSeen() >= calls, { timeoutMs: 60_000, what });
      if (isOver) throw new Error(`the process ended before ${what}; it said:\n${running?.stderr()}`);
    },
  };
}

export async function endOf(process: TestProcess): Promise<Ended> {
  const code = await process.ended;
  return { code, stdout: process.stdout(), stderr: process.stderr() };
}
