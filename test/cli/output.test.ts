/** What a person sees: help, tables, progress on a terminal, colours; and what a program gets on stdout. */
import { spawnSync } from 'node:child_process';
import { beforeAll, describe, expect, test } from 'vitest';
import { createProgram } from '../../src/cli/main.ts';
import { command, createBench, line, type Ended } from './command.ts';

const bench = createBench();
const count = 24;
bench.file('in.jsonl', Array.from({ length: count }, (_, index) => line(`line-${index}`)).join(''));
const run = ['run', 'in.jsonl', '--simulate', '--out', 'out'];

describe('help', () => {
  const commands = createProgram().commands.map((one) => one.name());

  test('of each command fits 80 columns and has examples and no undefined default', () => {
    for (const args of [[], ['keys', 'list'], ...commands.map((name) => [name])]) {
      const help = helpOf(args);
      expect(help).toMatch(/\nExamples:\n {2}\$ .*nightshift /);
      expect(help).not.toMatch(/undefined|null/);
      const tooWide = help.split('\n').filter((text) => text.length > 80);
      expect(tooWide, args.join(' ')).toEqual([]);
    }
  });

  test('is what a call without a command gets, on stderr and with exit code 2', async () => {
    const [bare, asked] = await bench.nightshiftAll([{ args: [] }, { args: ['--help'] }]);
    expect(bare).toEqual({ code: 2, stdout: '', stderr: asked?.stdout });
    expect(asked).toMatchObject({ code: 0, stderr: '' });
    expect(asked?.stdout).toMatch(/^Usage: nightshift <command> \[options\]\n/);
  });

  function helpOf(path: string[]): string {
    let text = '';
    let at = createProgram();
    for (const name of path) at = at.commands.find((one) => one.name() === name) ?? at;
    at.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 80 });
    at.outputHelp();
    return text;
  }
});

describe('--json', () => {
  let results: Ended[];
  const asked = [
    run,
    ['status', '--json'],
    ['keys', '--json'],
    ['usage', '--json'],
    ['check', 'in.jsonl', '--json'],
    ['check', 'bad.jsonl', '--json'],
  ];
  beforeAll(async () => {
    bench.file('bad.jsonl', '{');
    await bench.nightshift(run);
    const call = { env: { PMIND_KEY: `PMIND${'B'.repeat(27)}:${'0'.repeat(64)}` } };
    results = await bench.nightshiftAll(
      asked.map((args) => ({ args: args === run ? [...run, '--json'] : args, call })),
    );
  });

  test.each(asked.map((args, index) => ({ what: args[0] === 'run' ? 'run' : args.join(' '), index })))(
    'of $what is one line of JSON on stdout and nothing else there',
    ({ what, index }) => {
      const { code, stdout, stderr } = results[index] as Ended;
      expect(code, stderr).toBe(what.includes('bad') ? 2 : 0);
      expect(stdout).toMatch(/^[[{].*[\]}]\n$/);
      JSON.parse(stdout);
    },
  );

  test('of a finished run names everything a script needs', () => {
    expect(JSON.parse(results[0]?.stdout ?? '')).toMatchObject({
      name: 'in',
      status: 'completed',
      counts: { total: count, completed: count, failed: 0 },
      costUsd: expect.any(Number) as number,
      possiblyBilled: 0,
      outputFile: bench.file('out/in.output.jsonl'),
      errorFile: bench.file('out/in.errors.jsonl'),
      manifestFile: bench.file('out/in.manifest.json'),
      stoppedBy: null,
    });
  });
});

test('whoever reads no further is no error', async () => {
  const bad = bench.file('long.jsonl', '{\n'.repeat(2000));
  const node = `'${process.execPath}' '${command}'`;
  for (const call of [`${node} check '${bad}'`, `${node} --help`, `${node} check '${bad}' --json`]) {
    const through = ['bash', '-c', `set -o pipefail; ${call} | head -c 1 >/dev/null; exit "\${PIPESTATUS[0]}"`];
    const ended = await bench.nightshift([], { through });
    expect(ended.stderr).not.toMatch(/EPIPE|^\s+at /m);
    expect([0, 2]).toContain(ended.code);
  }
});

test('standard error that is no terminal gets no colours, no cursor movements and no progress of a short run', async () => {
  const ended = await bench.nightshift([...run, '--name', 'plain'], { env: { FORCE_COLOR: '' } });
  expect(ended.code).toBe(0);
  expect(ended.stdout).toBe('');
  expect(ended.stderr).not.toContain('\x1b');
  expect(ended.stderr.split('\n').map((text) => text.split(/ {2,}|:/)[0] || text.trim().split(/ +/)[0])).toEqual([
    'plain',
    'used',
    'output',
    'manifest',
    '',
  ]);
});

const hasScript = spawnSync('script', ['--version']).stdout?.includes('util-linux') ?? false;

describe.skipIf(!hasScript)('on a terminal', () => {
  /** What the terminal received, escape characters as `ESC`. */
  async function onTerminal(name: string, more: string[] = [], env: Record<string, string> = {}): Promise<string> {
    const words = [process.execPath, command, ...run, '--name', name, '--concurrency', '8', ...more];
    const shell = `stty cols 60 rows 20; ${words.map((word) => `'${word}'`).join(' ')}`;
    // `script` makes the terminal; its caller drops the words that the bench adds.
    const through = ['bash', '-c', 'exec script --quiet --return --command "$0" /dev/null', shell];
    const ended = await bench.nightshift([], { through, env: { TERM: 'xterm-256color', ...env } });
    expect(ended.code, ended.stdout).toBe(0);
    return ended.stdout.replaceAll('\r\n', '\n').replaceAll('\x1b', 'ESC');
  }

  test('progress is redrawn in place, never wraps, and is gone at the end', async () => {
    const seen = await onTerminal('shown');
    expect(seen).toMatch(/ESC\[1mshownESC\[22m {2}\d+ of 24 lines \(\d+ %\)/);
    expect(seen).toMatch(/sim-1 {2}ESC\[32mactiveESC\[39m/);
    // Every block is drawn without wrapping, and what stays is the report.
    expect(seen.match(/ESC\[\?7l/g)?.length).toBe(seen.match(/ESC\[\?7h/g)?.length);
    const stays = seen.slice(seen.lastIndexOf('ESC[J') + 'ESC[J'.length);
    expect(stays).toMatch(/^shown: completed, 24 of 24 lines completed, 0 failed\n/);
    expect(stays).not.toContain('ESC');
    expect(seen.slice(0, -stays.length)).toMatch(/\rESC\[\d+AESC\[J$/);
  });

  test('--no-color and NO_COLOR leave the colours out', async () => {
    const [flag, variable] = await Promise.all([
      onTerminal('flag', ['--no-color']),
      onTerminal('env', [], { NO_COLOR: '1' }),
    ]);
    for (const seen of [flag, variable]) {
      expect(seen).toMatch(/ of 24 lines/);
      expect(seen).not.toMatch(/ESC\[\d+(;\d+)*m/);
    }
  });
});
