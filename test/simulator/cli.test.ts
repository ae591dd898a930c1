import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { registerSimulate } from '../../src/cli/simulate.ts';
import { AppError } from '../../src/errors.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { question } from './client.ts';

let directory: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'nightshift-simulate-'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

function scenarioFile(content: string): string {
  const file = path.join(directory, 'scenario.json');
  writeFileSync(file, content);
  return file;
}

type Running = {
  child: ChildProcess;
  baseUrl: string;
  exported: Record<string, string>;
  rest: string[];
  errors: Promise<string>;
};

/** Starts the command and reads its first lines. */
async function simulate(...options: string[]): Promise<Running> {
  const script = new URL('standalone.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [script, 'simulate', '--port', '0', ...options], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const errors = text(child.stderr);
  const lines: string[] = [];
  const introduced = Promise.withResolvers<void>();
  createInterface(child.stdout).on('line', (line) => {
    if (lines.push(line) === 3) introduced.resolve();
  });
  child.once('exit', (code) => introduced.reject(new Error(`exited with ${code} after ${lines.join('\n')}`)));
  await introduced.promise;
  const [baseUrl, ...exports] = lines.splice(0, 3);
  const exported = exports.map((line) => /^export (\w+)='(.*)'$/.exec(line)!.slice(1) as [string, string]);
  return { child, baseUrl: baseUrl!, exported: Object.fromEntries(exported), rest: lines, errors };
}

async function ask({ exported }: Running): Promise<number> {
  const response = await fetch(`${exported['PMIND_BASE_URL']}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${exported['PMIND_KEYS']!.split(',')[0]}` },
    body: JSON.stringify({ model: 'fast', messages: [question] }),
  });
  await response.text();
  return response.status;
}

async function stop({ child }: Running, signal: NodeJS.Signals): Promise<number | null> {
  // Not 'exit': what it printed must have been read to the end.
  const closed = once(child, 'close') as Promise<[number | null]>;
  child.kill(signal);
  return (await closed)[0];
}

test('the command prints an address and lines to paste, serves, and tells at the end what happened', async () => {
  const running = await simulate('--instant');
  expect(running.baseUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(running.exported['PMIND_BASE_URL']).toBe(running.baseUrl);
  expect(running.exported['PMIND_KEYS']!.split(',')).toHaveLength(4);
  expect(await ask(running)).toBe(200);
  expect(await stop(running, 'SIGINT')).toBe(0);
  const table = await running.errors;
  expect(table).toMatch(/^key +calls +answered +billed/);
  expect(table).toMatch(/^sim-1 +1 +1 +1 +0 +0 +1 +600 /m);
  expect(running.rest).toEqual([]);
});

test('--json tells it as one more line on stdout, and a scenario is obeyed', async () => {
  const file = scenarioFile('{"latencyMs": 600000, "keys": [{"name": "only", "rpm": 1}]}');
  const running = await simulate('--instant', '--json', '--scenario', file);
  expect([await ask(running), await ask(running)]).toEqual([200, 429]);
  expect(await stop(running, 'SIGTERM')).toBe(0);
  expect(running.rest).toHaveLength(1);
  expect(JSON.parse(running.rest[0]!).keys.only).toMatchObject({ calls: 2, answered: 1, rejected429: 1 });
  expect(await running.errors).toBe('');
});

test.each([
  ['curate-me', 'CM', '/v1/openai/chat/completions'],
  ['openai', 'OPENAI', '/v1/chat/completions'],
])('--provider %s serves that one, with lines to paste for it', async (provider, prefix, route) => {
  const running = await simulate('--instant', '--json', '--provider', provider);
  const baseUrl = running.exported[`${prefix}_BASE_URL`]!;
  expect(baseUrl).toBe(running.baseUrl);
  const response = await fetch(baseUrl + route, {
    method: 'POST',
    headers: { authorization: `Bearer ${running.exported[`${prefix}_API_KEYS`]!.split(',')[0]}` },
    body: JSON.stringify({ model: 'gpt-5-mini', messages: [question] }),
  });
  expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('[simulated')]);
  expect(await stop(running, 'SIGTERM')).toBe(0);
  expect(JSON.parse(running.rest[0]!).keys['sim-1']).toMatchObject({ calls: 1, answered: 1 });
});

/** The command in this process, up to its error. */
async function failureOf(...options: string[]): Promise<AppError> {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  registerSimulate(program);
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => {} });
  return program.parseAsync(['simulate', ...options], { from: 'user' }).then(
    () => {
      throw new Error('expected the command to fail');
    },
    (error: AppError) => error,
  );
}

test('a port in use is named, with what to do', async () => {
  await using simulator = await createSimulator();
  const error = await failureOf('--port', String(simulator.port));
  expect(error).toBeInstanceOf(AppError);
  expect(error.code).toBe('usage');
  expect(error.message).toBe(
    `port ${simulator.port} on 127.0.0.1 is in use; choose another with --port, or any free one with --port 0`,
  );
});

test('a scenario that is missing, torn or wrong is named, with the field', async () => {
  const missing = await failureOf('--scenario', path.join(directory, 'absent.json'));
  expect(missing).toMatchObject({
    code: 'config',
    message: expect.stringMatching(/cannot read the scenario .*absent\.json/),
  });
  const torn = await failureOf('--scenario', scenarioFile('{"keys": ['));
  expect(torn).toMatchObject({ code: 'config', message: expect.stringMatching(/scenario\.json is not valid JSON/) });
  const wrong = await failureOf('--scenario', scenarioFile('{"keys": [{"name": "a", "rpm": "many"}]}'));
  expect(wrong).toMatchObject({
    code: 'config',
    message: expect.stringMatching(/scenario\.json is not a valid scenario:\n {2}keys\[0\]\.rpm/),
  });
  const list = await failureOf('--scenario', scenarioFile('[]'));
  expect(list).toMatchObject({ code: 'config', message: expect.stringMatching(/the top level/) });
});

test('a port that is none is refused', async () => {
  expect((await failureOf('--port', 'http')).message).toMatch(/expected a port from 0 to 65535/);
});
