/**
 * The leak trap, run after each test file and after the file's own clean-up: no child process, no listening server and
 * no connection may be left. What is on its way out gets a moment. (Vitest itself fails on unhandled rejections.)
 */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll } from 'vitest';
import { waitFor } from './wait.ts';

const graceMs = 5_000;
/** Resources that keep a process alive, by Node's names; timers come and go with the test runner's own. */
const watched = ['TCPSocketWrap', 'TCPServerWrap', 'PipeWrap', 'PipeServerWrap', 'TLSWrap', 'ProcessWrap'];

let childrenBefore = new Set<number>();
let resourcesBefore = new Map<string, number>();

beforeAll(() => {
  childrenBefore = new Set(children().keys());
  resourcesBefore = countResources();
});

afterAll(async () => {
  let left: string[] = [];
  const isClean = () => (left = leaks()).length === 0;
  await waitFor(isClean, { timeoutMs: graceMs }).catch(() => {
    throw new Error(`this test file leaves behind: ${left.join(', ')}`);
  });
});

function leaks(): string[] {
  const resources = [...countResources()]
    .map(([name, count]) => ({ name, extra: count - (resourcesBefore.get(name) ?? 0) }))
    .filter(({ extra }) => extra > 0)
    .map(({ name, extra }) => `${extra} ${name}`);
  // Asking for the children costs a process: only when the cheap question is answered well.
  if (resources.length > 0) return resources;
  return [...children()].filter(([pid]) => !childrenBefore.has(pid)).map(([pid, line]) => `process ${pid} (${line})`);
}

function countResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of process.getActiveResourcesInfo()) {
    if (watched.includes(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

/** Our child processes, zombies included, but for the `ps` that lists them. */
function children(): Map<number, string> {
  const found = new Map<number, string>();
  for (const line of execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n')) {
    const [, pid, parent, args] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    if (Number(parent) === process.pid && args && !args.startsWith('ps -A')) found.set(Number(pid), args);
  }
  return found;
}
