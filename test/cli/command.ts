/**
 * The command as a person calls it: a process of bin/nightshift.ts in a directory of its own, with nothing in its
 * environment that the test did not put there; and what every failure of it has in common.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, expect, vi } from 'vitest';

export const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');
/** In the form of a key. */
export const secret = `PMIND${'A'.repeat(27)}:${'0123456789abcdef'.repeat(4)}`;

export type Ended = { code: number | string | null; stdout: string; stderr: string };

export type Call = {
  env?: Record<string, string>;
  cwd?: string;
  stdin?: string;
  /** Before `node`: another user, a limit. */
  through?: string[];
};

export type Bench = {
  dir: string;
  file: (name: string, content?: string | Buffer) => string;
  nightshift: (args: string[], call?: Call) => Promise<Ended>;
  /** Each of them, a few at a time; in the order of `calls`. */
  nightshiftAll: (calls: readonly { args: string[]; call?: Call }[]) => Promise<Ended[]>;
};

/** Once per test file, at its top. The configuration there only names a namespace; the Redis is the suite's. */
export function createBench(options: { redisUrl?: string | null } = {}): Bench {
  // Many processes start here, on a machine that may be busy with others.
  vi.setConfig({ testTimeout: 60_000, hookTimeout: 180_000 });
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-cli-'));
  const children = new Set<ChildProcess>();
  const redisUrl = options.redisUrl === undefined ? process.env['NIGHTSHIFT_TEST_REDIS_URL'] : options.redisUrl;
  const noise = [
    'PMIND_',
    'NIGHTSHIFT_',
    'REDIS_URL',
    'NO_COLOR',
    'FORCE_COLOR',
    // Node draws no colours where it is set.
    'CI',
    'npm_',
    'INIT_CWD',
    'VITEST',
    'NODE_',
  ];
  const quiet = Object.entries(process.env).filter(([name]) => !noise.some((prefix) => name.startsWith(prefix)));
  const base = { ...Object.fromEntries(quiet), ...(redisUrl && { REDIS_URL: redisUrl }) };
  writeFileSync(
    path.join(dir, 'nightshift.config.json'),
    JSON.stringify({ namespace: `test-${randomBytes(6).toString('hex')}` }),
  );
  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });

  async function nightshift(args: string[], { env, cwd, stdin, through = [] }: Call = {}): Promise<Ended> {
    const [program = '', ...rest] = [...through, process.execPath, command, ...args];
    const child = spawn(program, rest, { cwd: cwd ?? dir, env: { ...base, ...env }, stdio: 'pipe' });
    children.add(child);
    child.stdin.on('error', () => {});
    child.stdin.end(stdin ?? '');
    const ended = new Promise<number | string | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(signal ?? code));
    });
    const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
    children.delete(child);
    return { code, stdout, stderr };
  }

  return {
    dir,
    file(name, content) {
      const file = path.join(dir, name);
      if (content !== undefined) {
        mkdirSync(path.dirname(file), { recursive: true });
        writeFileSync(file, content);
      }
      return file;
    },
    nightshift,
    async nightshiftAll(calls) {
      const results: Ended[] = [];
      const left = calls.entries();
      const work = async () => {
        for (const [index, { args, call }] of left) results[index] = await nightshift(args, call);
      };
      await Promise.all([work(), work(), work()]);
      return results;
    },
  };
}

/** One message and nothing else: no stack, no second error, no log lines, nothing on stdout, no secret. */
export function expectFailure(
  { code, stdout, stderr }: Ended,
  expectedCode: number,
  ...says: (RegExp | string)[]
): void {
  for (const part of says) {
    if (typeof part === 'string') expect(stderr).toContain(part);
    else expect(stderr).toMatch(part);
  }
  expect({ code, stdout }, stderr).toEqual({ code: expectedCode, stdout: '' });
  expect(stderr.match(/^nightshift: /gm), stderr).toHaveLength(1);
  expect(stderr).toMatch(/^nightshift: /);
  expect(stderr).not.toMatch(/^\s+at |^\s*\{"level"|\bError:|\bundefined\b|\[object/m);
  expect(stderr).not.toContain(secret.split(':')[1]);
}

export const isRoot = process.getuid?.() === 0;
/** Runs a command as nobody, where we are root and `setpriv` is there; `[]` where we are nobody special anyway. */
export const asNobody = !isRoot
  ? []
  : spawnSync('setpriv', ['--version']).status === 0
    ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
    : null;

/** One request of the short form. */
export function line(id: string, more: Record<string, unknown> = {}): string {
  return `${JSON.stringify({ custom_id: id, model: 'fast', prompt: 'Why is the night dark?', ...more })}\n`;
}
