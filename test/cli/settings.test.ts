import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { createBench, expectFailure, line, secret, type Call, type Ended } from './command.ts';

const bench = createBench();
const [accessKeyId = '', hex = ''] = secret.split(':');

type Row = { name: string; args: string[]; call?: Call; config?: string; code?: number; says: (RegExp | string)[] };

const run = ['run', 'good.jsonl'];
const withKey = (PMIND_KEY: string): Call => ({ env: { PMIND_KEY } });

const keyRows: Row[] = [
  { name: 'no key at all', args: run, code: 4, says: [/no API key: set PMIND_KEY.*--simulate needs none/] },
  { name: 'half a token, the id', args: run, call: withKey(accessKeyId), says: [/PMIND_KEY\): .*half a token/] },
  { name: 'half a token, the secret', args: run, call: withKey(hex), says: [/PMIND_KEY\): .*half a token/] },
  { name: 'a token with a space', args: run, call: withKey(`${accessKeyId}: ${hex}`), says: [/holds spaces/] },
  { name: 'a token of somebody else', args: run, call: withKey(`sk-or-v1${secret}`), says: [/must start with PMIND/] },
  {
    name: 'a short secret',
    args: run,
    call: withKey(`${accessKeyId}:abc123`),
    says: [/64 hex characters, this has 6/],
  },
];

const key = (more: object) =>
  JSON.stringify({ keys: [{ name: 'a', provider: 'privatemind', secretEnv: 'K', ...more }] });
const configRows: Row[] = [
  {
    name: 'an unknown field',
    args: run,
    config: '{"nmespace": "x"}',
    says: [/c\.json is not a valid configuration:\n {2}the top level: unknown field "nmespace" \(known: .*namespace/],
  },
  {
    name: 'an unknown field of a key',
    args: run,
    config: key({ rmp: 3 }),
    says: ['keys[0]: unknown field "rmp" (known: name'],
  },
  {
    name: 'a wrong type',
    args: run,
    config: '{"attempts": "five"}',
    says: ['attempts: expected a number, got "five"'],
  },
  {
    name: 'a wrong limit',
    args: run,
    config: key({ rpm: 'lots' }),
    says: ['keys[0].rpm: expected a whole number above 0, "auto" or null, got "lots"'],
  },
  { name: 'a missing field', args: run, config: '{"keys": [{"name": "a"}]}', says: ['keys[0].provider: is missing'] },
  { name: 'broken JSON', args: run, config: '{"attempts": 5,\n', says: [/c\.json is not valid JSON: .*line 2/] },
  {
    name: 'an unknown provider',
    args: run,
    config: key({ provider: 'oops' }),
    says: ['unknown provider "oops" (known: privatemind'],
  },
  {
    name: 'a missing environment variable',
    args: run,
    config: key({}),
    says: [/keys\[0\] "a": the environment variable K is not set/],
  },
  {
    name: 'a base URL that is none',
    args: run,
    config: '{"providers": {"privatemind": {"baseUrl": "nope"}}}',
    says: [/providers\.privatemind\.baseUrl: expected a URL .*got "nope"/],
  },
  {
    name: 'a file that is not there',
    args: [...run, '--config', 'gone.json'],
    says: [/gone\.json: there is no such file; correct --config/],
  },
  {
    name: 'a file that nobody named and that is none',
    args: run,
    call: { cwd: path.join(bench.dir, 'odd') },
    says: [
      /cannot read the configuration \/.*odd\/nightshift\.config\.json: .*EISDIR.*; put a readable file there, or name another with --config$/m,
    ],
  },
  {
    name: 'a base URL in the environment',
    args: run,
    call: { env: { PMIND_BASE_URL: 'nope' } },
    says: ['variable PMIND_BASE_URL: expected a URL'],
  },
];

const long = 'n'.repeat(240);

const flagRows: Row[] = [
  { name: 'an unknown command', args: ['rnu', 'good.jsonl'], says: ["unknown command 'rnu'", 'Did you mean run?'] },
  {
    name: 'an unknown command of keys',
    args: ['keys', 'lsit'],
    call: withKey(secret),
    says: ["unknown command 'keys lsit'"],
  },
  {
    name: 'an unknown flag',
    args: [...run, '--simulat'],
    says: ["unknown option '--simulat'", 'Did you mean --simulate?'],
  },
  { name: 'no input', args: ['run'], says: ["missing required argument 'input'", 'nightshift run --help'] },
  { name: 'too many inputs', args: ['run', 'a', 'b'], says: [/too many arguments for 'run'.*got 2: a, b/] },
  {
    name: '--concurrency 0',
    args: [...run, '--concurrency', '0'],
    says: [/--concurrency.*'0' is invalid.*at least 1/],
  },
  { name: '--budget of words', args: [...run, '--budget', 'much'], says: [/--budget.*'much' is invalid.*20 or 0\.5/] },
  {
    name: '--name of nothing',
    args: [...run, '--name', ''],
    says: [/--name.*'' is invalid.*such as tonight, got nothing/],
  },
  {
    name: '--name that is a path',
    args: [...run, '--name', '../evil'],
    says: [/--name.*'\.\.\/evil' is invalid.*without \/ .*--out/],
  },
  { name: '--name that is a directory', args: [...run, '--name', '..'], says: [/--name.*'\.\.' is invalid/] },
  {
    name: '--name that is too long for a file',
    args: [...run, '--name', 'n'.repeat(201)],
    says: [/--name.*is invalid.*at most 200 bytes/],
  },
  { name: '--out of nothing', args: [...run, '--out', ''], says: [/--out.*'' is invalid.*expected a directory/] },
  { name: '--data of nothing', args: [...run, '--data', ''], says: [/--data.*'' is invalid.*expected a directory/] },
  {
    name: 'an input whose name is too long for a batch',
    args: ['run', `${long}.jsonl`, '--simulate'],
    says: [/too long for a batch.*--name/],
  },
  { name: '--log-level loud', args: [...run, '--log-level', 'loud'], says: [/'loud' is invalid.*trace, debug, info/] },
  { name: 'usage --by week', args: ['usage', '--by', 'week'], says: [/'week' is invalid.*key, model, day, batch/] },
  {
    name: 'usage of a day that is none',
    args: ['usage', '--from', '2026-02-30'],
    says: [/--from: expected a day.*"2026-02-30"/],
  },
  {
    name: 'resume without a batch',
    args: ['resume'],
    call: withKey(secret),
    says: ['there is no batch yet; begin one with: nightshift run'],
  },
  {
    name: 'resume of an unknown batch',
    args: ['resume', 'x'],
    call: withKey(secret),
    says: ['no batch "x", nor any other'],
  },
  { name: 'status of an unknown batch', args: ['status', 'x'], says: ['no batch "x", nor any other'] },
];

describe.each([
  { what: 'a key', rows: keyRows },
  { what: 'a configuration', rows: configRows },
  { what: 'a call', rows: flagRows },
])('one message says what is wrong with $what, where, and what to do:', ({ rows }) => {
  let results: Ended[];
  beforeAll(async () => {
    bench.file('good.jsonl', line('a'));
    bench.file(`${long}.jsonl`, line('a'));
    bench.file('odd/nightshift.config.json/x', '');
    results = await bench.nightshiftAll(
      rows.map(({ args, call, config }, index) => {
        if (config === undefined) return { args, ...(call && { call }) };
        bench.file(`${index}/c.json`, config);
        return { args: [...args, '--config', `${index}/c.json`], ...(call && { call }) };
      }),
    );
  });

  test.each(rows.map(({ name, says, code = 2 }, index) => ({ name, says, code, index })))(
    '$name',
    ({ says, code, index }) => {
      expectFailure(results[index] as Ended, code, ...says);
    },
  );
});

test('a port that is taken is named, with the way to a free one', async () => {
  const { createSimulator } = await import('../../src/simulator/server.ts');
  await using simulator = await createSimulator();
  const ended = await bench.nightshift(['simulate', '--port', String(simulator.port)]);
  expectFailure(ended, 2, `port ${simulator.port} on 127.0.0.1 is in use`, '--port 0');
  expect(ended.stdout).toBe('');
});
