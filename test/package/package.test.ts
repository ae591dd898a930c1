import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { configJsonSchema } from '../../scripts/config-schema.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { testRedis } from '../support/redis.ts';
import { installPackage, root, type Installed } from './install.ts';

const redis = testRedis();
let installed: Installed;
beforeAll(async () => {
  installed = await installPackage();
}, 60_000);
afterAll(() => rmSync(installed.temporary, { recursive: true, force: true }));

const packageJson = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };
const inStrangersDir = (file: string) => path.join(installed.dir, file);

test('the package holds the program, its words and its examples, and no source or test', () => {
  expect(installed.files).toEqual(
    expect.arrayContaining([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'dist/bin/nightshift.js',
      'dist/config.schema.json',
      'dist/src/index.d.ts',
      'dist/src/keys/acquire.lua',
      'dist/src/ledger/migrations/0001-ledger.sql',
      'examples/prompts.jsonl',
      'package.json',
    ]),
  );
  const strays = installed.files.filter(
    (file) => /^(test|bench|scripts|src)\//.test(file) || /(?<!\.d)\.ts$/.test(file),
  );
  expect(strays).toEqual([]);
});

test('the installed command says its version and its help, by its name and by npx', async () => {
  expect(await installed.run('nightshift', ['--version'])).toMatchObject({
    exitCode: 0,
    stdout: `${packageJson.version}\n`,
  });
  const byNpx = await installed.run('npx', ['--no-install', 'nightshift', '--help']);
  expect(byNpx).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^Usage: nightshift/) });
});

test('the installed command runs a batch, with paths from where the person stands', async () => {
  cpSync(path.join(root, 'examples/short.jsonl'), inStrangersDir('questions.jsonl'));
  const args = ['run', 'questions.jsonl', '--simulate', '--out', 'answers', '--data', 'state', '--json'];
  const ended = await installed.run('nightshift', args);
  expect(ended.stderr).toContain('questions: completed, 10 of 10 lines completed, 0 failed');
  expect(ended.exitCode).toBe(0);
  expect(JSON.parse(ended.stdout)).toMatchObject({
    status: 'completed',
    counts: { total: 10, completed: 10, failed: 0 },
    outputFile: inStrangersDir('answers/questions.output.jsonl'),
  });
  const output = readFileSync(inStrangersDir('answers/questions.output.jsonl'), 'utf8');
  expect(output.trimEnd().split('\n')).toHaveLength(10);
  expect(existsSync(inStrangersDir('state/simulated/ledger.db'))).toBe(true);
});

test('the installed command checks a large file, in threads where there are cores', async () => {
  const line = (id: number) => `${JSON.stringify({ custom_id: `line-${id}`, prompt: 'a b c d '.repeat(16_384) })}\n`;
  writeFileSync(inStrangersDir('large.jsonl'), Array.from({ length: 200 }, (_, id) => line(id)).join(''));
  const ended = await installed.run('nightshift', ['check', 'large.jsonl', '--model', 'fast', '--offline', '--json']);
  expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
  expect(JSON.parse(ended.stdout)).toMatchObject({ total: 200, invalid: 0, models: { fast: 200 } });
});

/** As a program of a user would have it; TypeScript, so that the declarations are checked too. */
const program = `
import { AppError, createKeyring, loadConfig, readUsage, runBatch, type BatchResult } from 'nightshift';

const config = loadConfig();
const names: string[] = createKeyring(config).keys.map((key) => key.name);
const seen: number[] = [];
const result: BatchResult = await runBatch('questions.jsonl', {
  config,
  out: 'library',
  ordered: true,
  onProgress: ({ counts }) => seen.push(counts.completed),
});
const again = await runBatch('questions.jsonl', { config, out: 'library' });
const [total] = await readUsage(config, { by: null, batchId: result.batchId });
const refused = await runBatch('absent.jsonl', { config }).catch((error: unknown) =>
  error instanceof AppError ? error.code : 'no AppError',
);
const { batchId, status, counts, stoppedBy } = result;
const facts = { names, status, counts, stoppedBy, same: again.batchId === batchId, lastSeen: seen.at(-1), refused };
console.log(JSON.stringify({ ...facts, attempts: total?.attempts, isCostKnown: typeof total?.costNanoUsd === 'bigint' }));
`;

test('a program that imports the package runs a batch and reads what was spent', async () => {
  await using simulator = await createSimulator({ scenario: { latencyMs: 0, keys: [{ name: 'only', rpm: null }] } });
  cpSync(path.join(root, 'examples/short.jsonl'), inStrangersDir('questions.jsonl'));
  writeFileSync(inStrangersDir('program.ts'), program);
  writeFileSync(
    inStrangersDir('nightshift.config.json'),
    JSON.stringify({
      $schema: './node_modules/nightshift/dist/config.schema.json',
      namespace: redis.namespace,
      redisUrl: inject('redisUrl'),
      dataDir: 'library-state',
      providers: { privatemind: { baseUrl: simulator.baseUrl } },
      keys: [{ name: 'mine', provider: 'privatemind', secretEnv: 'SIMULATED_KEY', rpm: null }],
    }),
  );
  const ended = await installed.run('node', ['program.ts'], { SIMULATED_KEY: simulator.keys[0]!.token });
  expect(ended).toMatchObject({ exitCode: 0 });
  expect(JSON.parse(ended.stdout)).toEqual({
    names: ['mine'],
    status: 'completed',
    counts: { total: 10, completed: 10, failed: 0 },
    stoppedBy: null,
    same: true,
    lastSeen: 10,
    refused: 'input',
    attempts: 10,
    isCostKnown: true,
  });
  expect(simulator.truth().totals.billed).toBe(10);
});

test('the declarations are what a strict program needs', async () => {
  writeFileSync(inStrangersDir('program.ts'), program);
  const options = ['--module', 'nodenext', '--target', 'esnext', '--types', 'node', '--strict', '--noEmit'];
  writeFileSync(inStrangersDir('package.json'), '{"type": "module", "private": true}');
  const tsc = path.join(root, 'node_modules/.bin/tsc');
  const ended = await installed.run(tsc, [...options, '--exactOptionalPropertyTypes', 'program.ts']);
  expect(ended).toEqual({ exitCode: 0, stdout: '', stderr: '' });
});

test('config.schema.json is current (if not: npm run build, and commit it)', () => {
  const schema = JSON.parse(JSON.stringify(configJsonSchema())) as unknown;
  expect(JSON.parse(readFileSync(path.join(root, 'config.schema.json'), 'utf8'))).toEqual(schema);
  const shipped = inStrangersDir('node_modules/nightshift/dist/config.schema.json');
  expect(JSON.parse(readFileSync(shipped, 'utf8'))).toEqual(schema);
});
