import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { createProgram } from '../src/cli/main.ts';
import { configSchema } from '../src/config.ts';
import * as library from '../src/index.ts';
import { ledgerOutcomes } from '../src/ledger/entry.ts';
import { startProcess } from './support/process.ts';

const root = path.dirname(import.meta.dirname);
const readme = readFileSync(path.join(root, 'README.md'), 'utf8');
const packageJson = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
  version: string;
  scripts: Record<string, string>;
  dependencies: Record<string, string>;
};

function blocks(language: string): string[] {
  return [...readme.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].flatMap(([, name, text]) =>
    name === language ? [text!] : [],
  );
}

/** The commands of the README's shell blocks: without comments and variables, each part of a pipe by itself. */
const commands = blocks('sh')
  .flatMap((block) => block.split('\n'))
  .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
  .flatMap((line) => line.split('|'))
  .map((command) => command.trim().replace(/^(\w+=\S+\s+)+/, ''))
  .filter((command) => command !== '');

/** The arguments of every call of nightshift, however it is called. */
const calls = commands.flatMap((command) => {
  const match = /^(?:npx nightshift|npm run nightshift --|nightshift)\s+(.*)$/.exec(command);
  return match ? [match[1]!.split(/\s+/)] : [];
});

/** The program's own definitions, with actions that do nothing. */
function createIdleProgram(): Command {
  const program = createProgram();
  const quieten = (command: Command): void => {
    command.exitOverride().configureOutput({ writeOut: () => {}, writeErr: () => {} });
    if (command.commands.length === 0) command.action(() => {});
    for (const one of command.commands) quieten(one);
  };
  quieten(program);
  return program;
}

describe('each command of the README', () => {
  test('there are some', () => {
    expect(commands).toEqual(expect.arrayContaining(['npm run demo', 'npm test', 'npm run build']));
    expect(calls.length).toBeGreaterThan(10);
  });

  test.each(commands.filter((command) => command.startsWith('npm ')))('%s is a script, or npm’s own', (command) => {
    const [, verb = '', name = ''] = command.split(/\s+/);
    if (verb === 'pack' || verb === 'install') return;
    expect(packageJson.scripts).toHaveProperty([verb === 'run' ? name : verb]);
  });

  test.each(calls.map((args) => [args.join(' '), args] as const))('nightshift %s is understood', async (_, args) => {
    const asked = await createIdleProgram()
      .parseAsync(args, { from: 'user' })
      .then(
        () => 'understood',
        (error: { code: string }) => error.code,
      );
    expect(asked).toBeOneOf(['understood', 'commander.helpDisplayed', 'commander.version']);
  });

  test.each(calls.filter((args) => args.includes('--help') || args[0] === 'check').map((args) => args.join(' ')))(
    'nightshift %s runs',
    async (args) => {
      // A stranger's file of prompts is one of our examples here.
      const words = args.split(' ').map((word) => (word === 'prompts.jsonl' ? 'examples/prompts.jsonl' : word));
      const started = startProcess(['bin/nightshift.ts', ...words], { cwd: root });
      expect(await started.ended, started.stderr()).toBe(0);
    },
  );

  test('the services and the version it names are there', () => {
    const compose = readFileSync(path.join(root, 'docker-compose.yml'), 'utf8');
    for (const [, service] of commands.join('\n').matchAll(/--scale (\w+)=/g))
      expect(compose).toContain(`\n  ${service}:\n`);
    expect(commands).toContain(`npm install ./nightshift-${packageJson.version}.tgz`);
  });
});

test('every command and every option of the program is in the README', () => {
  const missing: string[] = [];
  const visit = (command: Command, name: string): void => {
    if (command.commands.length === 0 && !readme.includes(`\`${name}`)) missing.push(name);
    for (const { long } of command.options) if (long && !readme.includes(`\`${long}`)) missing.push(`${name} ${long}`);
    for (const one of command.commands) visit(one, `${name} ${one.name()}`);
  };
  visit(createProgram(), 'nightshift');
  expect(missing).toEqual([]);
});

test('every field of the configuration is in the README, and its example is valid', () => {
  const [example] = blocks('json').filter((block) => block.includes('secretEnv'));
  expect(configSchema.parse(JSON.parse(example!))).toBeDefined();
  const { shape } = configSchema;
  const fields = [
    ...Object.keys(shape).filter((field) => field !== '$schema'),
    ...Object.keys(shape.keys.unwrap().element.shape),
    ...Object.keys(shape.providers.unwrap().valueType.shape),
  ];
  expect(fields.filter((field) => !new RegExp(`[\`.\\]]${field}[\`.\\[]`).test(readme))).toEqual([]);
});

test('every JSON block is JSON', () => {
  for (const block of blocks('json')) expect(() => JSON.parse(block) as unknown, block).not.toThrow();
});

test('every column and outcome of the ledger, and every dependency, is in the README', () => {
  const sql = readFileSync(path.join(root, 'src/ledger/migrations/0001-ledger.sql'), 'utf8');
  const columns = [...sql.matchAll(/^ {2}(\w+) (?:text|integer)/gm)].map(([, column]) => column!);
  expect(columns.length).toBeGreaterThan(15);
  const names = [...columns, ...ledgerOutcomes];
  expect(names.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
  expect(Object.keys(packageJson.dependencies).filter((name) => !readme.includes(`[${name}](`))).toEqual([]);
});

test('what the library example imports is exported', () => {
  const [example = ''] = blocks('ts');
  const [, names = ''] = /import \{ (.*) \} from 'nightshift'/.exec(example) ?? [];
  expect(names.split(', ').length).toBeGreaterThan(2);
  for (const name of names.split(', ')) expect(library).toHaveProperty(name);
});

test('every link leads somewhere', () => {
  const headings = [...readme.matchAll(/^#+ (.*)$/gm)].map(([, text]) => slugOf(text!));
  for (const [, target = ''] of readme.matchAll(/\]\(([^)]+)\)/g)) {
    if (target.startsWith('https://')) continue;
    if (target.startsWith('#')) expect(headings).toContain(target.slice(1));
    else expect(existsSync(path.join(root, target)), target).toBe(true);
  }
});

function slugOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\w\s-]/g, '')
    .replaceAll(' ', '-');
}
