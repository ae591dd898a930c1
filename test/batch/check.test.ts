import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-check-'));
});
afterEach(() => rm(directory, { recursive: true }));

const source = (file: string) => JSON.stringify(pathToFileURL(path.join(import.meta.dirname, '../../src', file)).href);
/** The command as its users have it, but with `check` alone. */
const script = `
  const { createProgram } = await import(${source('cli/main.ts')});
  const { registerCheck } = await import(${source('cli/check.ts')});
  const { AppError } = await import(${source('errors.ts')});
  const program = createProgram();
  if (!program.commands.some((command) => command.name() === 'check')) registerCheck(program);
  try {
    await program.parseAsync(process.argv.slice(1), { from: 'user' });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    process.stderr.write(error.message + '\\n');
    process.exitCode = error.exitCode;
  }`;

async function check(args: string[], stdin: string | Buffer = '') {
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, '--', 'check', ...args], {
    cwd: directory,
  });
  child.stdin.end(stdin);
  const exited = once(child, 'close') as Promise<[number]>;
  const [stdout, stderr, [exitCode]] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
  return { stdout, stderr, exitCode };
}

describe('nightshift check', () => {
  it('says nothing on stdout about a good file, and sums it up on stderr', async () => {
    await writeFile(path.join(directory, 'X.jsonl'), '{"prompt":"a"}\n{"prompt":"b","model":"reasoning"}\n');
    expect(await check(['X.jsonl', '--model', 'fast'])).toEqual({
      stdout: '',
      stderr: 'X.jsonl: 2 requests (all good), 50 bytes; models: fast 1, reasoning 1\n',
      exitCode: 0,
    });
    expect(await readdir(directory)).toEqual(['X.jsonl']);
  });

  it('names the first twenty bad lines, then how many there are of each kind', async () => {
    const lines = [
      '{"messages":[],"model":"m"}',
      '{"prompt":"ok","model":"m"}',
      ...Array.from({ length: 22 }, () => '{'),
    ];
    await writeFile(path.join(directory, 'X.jsonl'), lines.join('\n'));
    const { stdout, stderr, exitCode } = await check(['X.jsonl']);
    expect(exitCode).toBe(2);
    const reported = stdout.trimEnd().split('\n');
    expect(reported).toHaveLength(20);
    expect(reported[0]).toBe('X.jsonl:1: messages: expected a non-empty array of messages, got an empty array');
    expect(reported[1]).toContain('X.jsonl:3: expected a JSON object, got "{"');
    expect(stderr).toContain('… and 3 more lines with problems\n');
    expect(stderr).toContain('  invalid_json_line: 22 lines\n');
    expect(stderr).toContain('X.jsonl: 24 requests (1 good, 23 bad)');
  });

  it('with --json prints one object and nothing else, also for gzip on standard input', async () => {
    const { stdout, stderr, exitCode } = await check(['-', '--json'], gzipSync('{"prompt":"a","model":"m"}\n{}\n'));
    expect(stderr).toBe('');
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      input: 'standard input',
      total: 2,
      valid: 1,
      invalid: 1,
      models: { m: 1 },
      problemCounts: { missing_required_parameter: 1 },
      problems: [{ line: 2, field: 'prompt', customId: null }],
    });
    expect(await readdir(path.join(directory, '.nightshift/spool'))).toEqual([]);
  });

  it('ends with 2 and the reason when there is no such file', async () => {
    const { stdout, stderr, exitCode } = await check(['none.jsonl']);
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 2 });
    expect(stderr).toContain('none.jsonl: there is no such file');
  });
});
