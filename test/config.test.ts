import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { loadConfig, type Config, type ConfigOptions } from '../src/config.ts';
import { AppError } from '../src/errors.ts';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(path.join(tmpdir(), 'nightshift-config-'));
});
afterAll(() => rmSync(cwd, { recursive: true }));

const env = { KEY_A: 'PMINDa:1', KEY_B: ' PMINDb:2\n', PMIND_KEY: 'PMINDenv:9' };
const keyA = { name: 'team-a', provider: 'privatemind', secretEnv: 'KEY_A' };

function save(content: unknown, name = 'given.json'): string {
  const file = path.join(cwd, name);
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  return file;
}

const load = (content: unknown, options: ConfigOptions = {}): Config =>
  loadConfig({ cwd, env, file: save(content), ...options });
const fromEnvironment = (given: NodeJS.ProcessEnv, options: ConfigOptions = {}): Config =>
  loadConfig({ cwd, env: given, ...options });

function refusal(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    expect(error).toBeInstanceOf(AppError);
    expect(error).toMatchObject({ code: 'config', exitCode: 2 });
    return (error as AppError).message;
  }
  throw new Error('expected a refusal');
}
const refused = (content: unknown, options: ConfigOptions = {}): string => refusal(() => load(content, options));

describe('a configuration file', () => {
  it('is read in every field', () => {
    const config = load({
      $schema: './config.schema.json',
      namespace: 'tonight',
      redisUrl: 'redis://127.0.0.1:6390',
      dataDir: 'data',
      providers: {
        privatemind: { baseUrl: 'https://llm.example.com/v1', windowMs: 30_000 },
        local: { kind: 'privatemind', baseUrl: 'http://127.0.0.1:8000' },
      },
      keys: [
        {
          ...keyA,
          rpm: 600,
          tpm: 200_000,
          tpmCounts: 'requested',
          maxInFlight: 50,
          budgetUsd: 20.5,
          org: 'acme',
          bucket: 'shared',
        },
        { name: 'team-b', provider: 'local', secretEnv: 'KEY_B', rpm: null, tpm: 'auto' },
      ],
      fallbacks: { fast: ['deepseek-v4-pro'] },
      aliases: { local: { fast: 'some-model' } },
      prices: { 'some-model': { inputUsdPerMTok: 0.5, outputUsdPerMTok: 0 } },
      attempts: 3,
      attemptTimeoutMs: 1000,
      deadlineMs: 2000,
      modelsMaxAgeMs: 3000,
      dailyBudgetUsd: 0.000000001,
    });
    expect(config).toMatchObject({
      file: path.join(cwd, 'given.json'),
      namespace: 'tonight',
      redisUrl: 'redis://127.0.0.1:6390',
      dataDir: path.join(cwd, 'data'),
      providers: {
        privatemind: {
          name: 'privatemind',
          kind: 'privatemind',
          baseUrl: 'https://llm.example.com',
          windowMs: 30_000,
        },
        local: { name: 'local', kind: 'privatemind', baseUrl: 'http://127.0.0.1:8000', windowMs: 60_000 },
      },
      keys: [
        {
          name: 'team-a',
          provider: 'privatemind',
          secretFrom: 'KEY_A',
          secret: 'PMINDa:1',
          upstreamSecret: null,
          rpm: 600,
          tpm: 200_000,
          tpmCounts: 'requested',
          maxInFlight: 50,
          budgetNanoUsd: 20_500_000_000,
          org: 'acme',
          bucket: 'shared',
        },
        {
          name: 'team-b',
          provider: 'local',
          secretFrom: 'KEY_B',
          secret: 'PMINDb:2',
          upstreamSecret: null,
          rpm: null,
          tpm: 'auto',
          tpmCounts: 'used',
          maxInFlight: null,
          budgetNanoUsd: null,
          org: 'local',
          bucket: null,
        },
      ],
      fallbacks: { fast: ['deepseek-v4-pro'] },
      aliases: { local: { fast: 'some-model' } },
      prices: { 'some-model': { inputUsdPerMTok: 0.5, outputUsdPerMTok: 0 } },
      attempts: 3,
      attemptTimeoutMs: 1000,
      deadlineMs: 2000,
      modelsMaxAgeMs: 3000,
      dailyBudgetNanoUsd: 1,
    });
  });

  it('may be empty', () => {
    expect(load({})).toMatchObject({
      namespace: 'nightshift',
      redisUrl: null,
      dataDir: path.join(cwd, '.nightshift'),
      providers: { privatemind: { baseUrl: 'https://api.privatemind.com', windowMs: 60_000 } },
      attempts: 5,
      attemptTimeoutMs: 600_000,
      deadlineMs: 86_400_000,
      modelsMaxAgeMs: 60_000,
      dailyBudgetNanoUsd: null,
      keys: [{ name: 'privatemind', secret: 'PMINDenv:9' }],
    });
  });

  it('may begin with a byte order mark', () => {
    expect(load('\ufeff{"namespace":"windows"}').namespace).toBe('windows');
  });

  it('is found where one stands, unless another is named', () => {
    const file = save({ namespace: 'found' }, 'nightshift.config.json');
    expect(loadConfig({ cwd, env })).toMatchObject({ file, namespace: 'found' });
    expect(loadConfig({ cwd, env, file: save({ namespace: 'named' }) }).namespace).toBe('named');
    rmSync(file);
    expect(loadConfig({ cwd, env })).toMatchObject({ file: null, namespace: 'nightshift' });
  });

  it('gives way to the command line', () => {
    const given = { redisUrl: 'redis://file', dataDir: 'file' };
    expect(load(given, { redis: 'redis://option', data: 'option' })).toMatchObject({
      redisUrl: 'redis://option',
      dataDir: path.join(cwd, 'option'),
    });
  });

  it('need not hold secrets for commands that call nobody', () => {
    expect(load({ keys: [keyA] }, { env: {}, secrets: false }).keys).toEqual([]);
  });

  test.each([
    ['is not there', () => loadConfig({ cwd, env, file: 'absent.json' }), /cannot read .*absent\.json/],
    [
      'is a directory',
      () => {
        mkdirSync(path.join(cwd, 'directory'));
        return loadConfig({ cwd, env, file: 'directory' });
      },
      /cannot read .*directory/,
    ],
    ['is not JSON', () => load('{"namespace": "a",}'), /given\.json is not valid JSON: ./],
    ['is empty', () => load(''), /given\.json is not valid JSON/],
    ['is a list', () => load([]), /given\.json is not a valid configuration:\n {2}the top level: /],
    ['is null', () => load(null), / {2}the top level: /],
  ])('that %s is refused by name', (_, attempt, message) => {
    expect(refusal(attempt)).toMatch(message);
  });
});

describe('a field', () => {
  const key = (fields: object) => ({ keys: [{ ...keyA, ...fields }] });
  const provider = (fields: object) => ({ providers: { privatemind: fields } });
  test.each([
    ['unknown', { colour: 1, taste: 2 }, / {2}the top level: unknown fields? "colour", "taste".*namespace, redisUrl/],
    ['unknown in a key', key({ secret: 'x' }), / {2}keys\[0\]: unknown field "secret".*name, provider, secretEnv/],
    ['unknown in a provider', provider({ url: 'x' }), / {2}providers\.privatemind: unknown field "url".*kind, baseUrl/],
    [
      'unknown in a price',
      { prices: { m: { inputUsdPerMTok: 1, outputUsdPerMTok: 1, x: 1 } } },
      / {2}prices\.m: .*"x"/,
    ],
    ['a namespace', { namespace: 'two words' }, / {2}namespace: expected letters, digits/],
    ['a namespace with a tag', { namespace: 'a}b' }, / {2}namespace: expected letters, digits/],
    ['a redisUrl', { redisUrl: 5 }, / {2}redisUrl: /],
    ['a dataDir', { dataDir: null }, / {2}dataDir: /],
    ['a list of providers', { providers: [] }, / {2}providers: /],
    ['a provider’s name', { providers: { 'a b': {} } }, / {2}providers\.a b: /],
    ['a provider’s kind', { providers: { x: { kind: 'pm' } } }, / {2}providers\.x\.kind: .*"privatemind"/],
    ['a provider’s missing kind', { providers: { x: {} } }, /providers\.x: needs "kind", one of privatemind/],
    ['a provider’s window', provider({ windowMs: 0 }), / {2}providers\.privatemind\.windowMs: /],
    ['a provider’s endless window', provider({ windowMs: 2 ** 31 }), / {2}providers\.privatemind\.windowMs: /],
    ['a base URL', provider({ baseUrl: 'llm.example' }), /providers\.privatemind\.baseUrl: expected a URL .*"llm/],
    ['an empty base URL', provider({ baseUrl: '' }), /providers\.privatemind\.baseUrl: expected a URL/],
    ['a base URL of a file', provider({ baseUrl: 'file:///etc' }), /providers\.privatemind\.baseUrl: expected a URL/],
    ['an allowInsecure', provider({ allowInsecure: 'yes' }), / {2}providers\.privatemind\.allowInsecure: /],
    ['an object of keys', { keys: {} }, / {2}keys: /],
    ['a key’s missing name', { keys: [{ provider: 'privatemind', secretEnv: 'KEY_A' }] }, / {2}keys\[0\]\.name: /],
    ['a key’s name', key({ name: 'a b' }), / {2}keys\[0\]\.name: expected letters/],
    ['a key’s missing secretEnv', { keys: [{ name: 'a', provider: 'privatemind' }] }, / {2}keys\[0\]\.secretEnv: /],
    ['a key’s rpm', key({ rpm: 'many' }), / {2}keys\[0\]\.rpm: expected a .*number.*"auto".*null/],
    ['a key’s rpm of 0', key({ rpm: 0 }), / {2}keys\[0\]\.rpm: expected a .*number/],
    ['a key’s tpm', key({ tpm: 1.5 }), / {2}keys\[0\]\.tpm: expected a .*number/],
    ['a key’s tpmCounts', key({ tpmCounts: 'all' }), / {2}keys\[0\]\.tpmCounts: .*"used".*"requested"/],
    ['a key’s maxInFlight', key({ maxInFlight: -1 }), / {2}keys\[0\]\.maxInFlight: /],
    ['a key’s budget', key({ budgetUsd: 0 }), / {2}keys\[0\]\.budgetUsd: /],
    ['a key’s org', key({ org: '' }), / {2}keys\[0\]\.org: expected letters/],
    ['a key’s bucket', key({ bucket: 7 }), / {2}keys\[0\]\.bucket: /],
    ['a fallback', { fallbacks: { fast: 'slow' } }, / {2}fallbacks\.fast: /],
    ['an alias', { aliases: { local: 'fast' } }, / {2}aliases\.local: /],
    ['a price', { prices: { m: { inputUsdPerMTok: '0.5', outputUsdPerMTok: 1 } } }, / {2}prices\.m\.inputUsdPerMTok: /],
    ['half a price', { prices: { m: { inputUsdPerMTok: 0.5 } } }, / {2}prices\.m\.outputUsdPerMTok: /],
    ['no attempts', { attempts: 0 }, / {2}attempts: /],
    ['too many attempts', { attempts: 101 }, / {2}attempts: .*100/],
    ['an attemptTimeoutMs', { attemptTimeoutMs: 1.5 }, / {2}attemptTimeoutMs: /],
    [
      'an attemptTimeoutMs that no timer holds',
      { attemptTimeoutMs: 3_000_000_000 },
      / {2}attemptTimeoutMs: .*2147483647/,
    ],
    ['a deadlineMs', { deadlineMs: '1d' }, / {2}deadlineMs: /],
    ['a modelsMaxAgeMs', { modelsMaxAgeMs: 0 }, / {2}modelsMaxAgeMs: /],
    ['a dailyBudgetUsd', { dailyBudgetUsd: -5 }, / {2}dailyBudgetUsd: /],
  ])('that is wrong is refused by file and place: %s', (_, content, message) => {
    const said = refused(content);
    expect(said).toContain(path.join(cwd, 'given.json'));
    expect(said).toMatch(message);
  });

  it('that is wrong is not the last word: all of them are told', () => {
    const said = refused({ attempts: 'x', keys: [{ name: 'a' }], colour: 1 });
    expect(said).toMatch(/attempts: /);
    expect(said).toMatch(/keys\[0\]\.provider: /);
    expect(said).toMatch(/unknown field "colour"/);
  });
});

describe('a key of the file', () => {
  it('needs its environment variable, which the message names', () => {
    const said = refused({ keys: [keyA, { ...keyA, name: 'team-c', secretEnv: 'KEY_C' }] });
    expect(said).toMatch(/given\.json: keys\[1\] "team-c": the environment variable KEY_C is not set/);
    expect(said).not.toContain('PMINDa');
    expect(refused({ keys: [keyA] }, { env: { KEY_A: ' \n' } })).toMatch(/KEY_A is not set/);
  });

  it('that stands where its variable should be named is refused and not shown', () => {
    const secret = `PMIND${'A'.repeat(27)}:${'0123456789abcdef'.repeat(4)}`;
    for (const secretEnv of [secret, secret.slice(33), 'sk-0123456789abcdef']) {
      const said = refused({ keys: [{ ...keyA, secretEnv }] });
      expect(said).toMatch(/keys\[0\] "team-a": secretEnv: expected the name of an environment variable/);
      expect(said).not.toContain('0123456789');
    }
  });

  it('needs a name of its own', () => {
    expect(refused({ keys: [keyA, { ...keyA, secretEnv: 'KEY_B' }] })).toMatch(/keys\[1\] "team-a": .*used twice/);
  });

  test.each(['nonsense', 'constructor', 'toString'])('needs a provider that is there, not "%s"', (name) => {
    const said = refused({ keys: [{ ...keyA, provider: name }] });
    expect(said).toMatch(/keys\[0\] "team-a": unknown provider ".*" \(known: privatemind, curate-me, openai\)/);
  });

  it('takes the place of keys in the environment', () => {
    expect(load({ keys: [keyA] }).keys.map(({ name }) => name)).toEqual(['team-a']);
    expect(load({ keys: [] }).keys).toEqual([]);
  });
});

describe('a base URL', () => {
  test.each([
    ['https://llm.example.com', 'https://llm.example.com'],
    ['https://llm.example.com/', 'https://llm.example.com'],
    ['https://llm.example.com/v1', 'https://llm.example.com'],
    ['https://llm.example.com/v1/', 'https://llm.example.com'],
    ['https://llm.example.com//v1//', 'https://llm.example.com'],
    ['https://llm.example.com/api/v1', 'https://llm.example.com/api'],
    ['https://llm.example.com/v10', 'https://llm.example.com/v10'],
    ['https://llm.example.com:8443/?x=1#y', 'https://llm.example.com:8443'],
    [' https://LLM.example.com ', 'https://llm.example.com'],
    ['http://127.0.0.1:8000/v1', 'http://127.0.0.1:8000'],
    ['http://127.1.2.3', 'http://127.1.2.3'],
    ['http://localhost:8000', 'http://localhost:8000'],
    ['http://[::1]:8000', 'http://[::1]:8000'],
  ])('%s is %s', (baseUrl, expected) => {
    expect(load({ providers: { privatemind: { baseUrl } } }).providers['privatemind']?.baseUrl).toBe(expected);
  });

  test.each([
    'http://llm.example.com',
    'http://10.0.0.5:8000',
    'http://127.0.0.1.example.com',
    'http://localhost.evil',
    'http://0.0.0.0',
  ])('%s is refused, since it would send keys unencrypted', (baseUrl) => {
    const content = { providers: { privatemind: { baseUrl } } };
    expect(refused(content)).toMatch(/providers\.privatemind\.baseUrl: .*unencrypted.*"allowInsecure": true/);
    const allowed = load({ providers: { privatemind: { baseUrl, allowInsecure: true } } });
    expect(allowed.providers['privatemind']?.baseUrl).toBe(baseUrl);
  });

  it('of the environment stands in for one that the file does not give', () => {
    const given = { ...env, PMIND_BASE_URL: 'http://127.0.0.1:9/v1' };
    expect(load({}, { env: given }).providers['privatemind']?.baseUrl).toBe('http://127.0.0.1:9');
    const file = { providers: { privatemind: { baseUrl: 'https://file.example.com' } } };
    expect(load(file, { env: given }).providers['privatemind']?.baseUrl).toBe('https://file.example.com');
    const other = { providers: { local: { kind: 'privatemind' } } };
    expect(load(other, { env: given }).providers['local']?.baseUrl).toBe('https://api.privatemind.com');
  });

  test.each(['nonsense', 'http://llm.example.com'])('of the environment is refused by its variable: %s', (url) => {
    const said = refusal(() => fromEnvironment({ PMIND_BASE_URL: url }));
    expect(said).toMatch(/^the environment variable PMIND_BASE_URL: /);
    expect(refused({}, { env: { PMIND_BASE_URL: url } })).toMatch(/^the environment variable PMIND_BASE_URL: /);
  });
});

describe('without a file', () => {
  const keysOf = (given: NodeJS.ProcessEnv) =>
    fromEnvironment(given).keys.map(({ name, secret, secretFrom }) => `${name} ${secret} ${secretFrom}`);

  test.each([
    ['there may be no key', {}, []],
    ['empty variables hold no key', { PMIND_KEY: '', PMIND_KEYS: ' ,\n, ' }, []],
    ['one key bears the provider’s name', { PMIND_KEY: ' a ' }, ['privatemind a PMIND_KEY']],
    ['one key in the plural, too', { PMIND_KEYS: 'a,' }, ['privatemind a PMIND_KEYS']],
    [
      'several are numbered, with commas or line breaks between them',
      { PMIND_KEYS: 'a, b\nc\r\n\n,d' },
      [
        'privatemind-1 a PMIND_KEYS',
        'privatemind-2 b PMIND_KEYS',
        'privatemind-3 c PMIND_KEYS',
        'privatemind-4 d PMIND_KEYS',
      ],
    ],
    [
      'both variables add up',
      { PMIND_KEY: 'a', PMIND_KEYS: 'b' },
      ['privatemind-1 a PMIND_KEY', 'privatemind-2 b PMIND_KEYS'],
    ],
    ['a key that is there twice counts once', { PMIND_KEY: 'a', PMIND_KEYS: 'a,a' }, ['privatemind a PMIND_KEYS']],
  ])('%s', (_, given, keys) => {
    expect(keysOf(given)).toEqual(keys);
  });

  it('limits are learnt', () => {
    expect(fromEnvironment({ PMIND_KEY: 'a' }).keys).toMatchObject([
      { rpm: 'auto', tpm: null, maxInFlight: null, budgetNanoUsd: null, org: 'privatemind', bucket: null },
    ]);
  });

  it('Redis may come from the environment', () => {
    expect(fromEnvironment({ REDIS_URL: 'redis://env' })).toMatchObject({ file: null, redisUrl: 'redis://env' });
    expect(fromEnvironment({ REDIS_URL: '' }).redisUrl).toBeNull();
    expect(fromEnvironment({ REDIS_URL: 'redis://env' }, { redis: 'redis://option' }).redisUrl).toBe('redis://option');
    expect(load({ redisUrl: 'redis://file' }, { env: { REDIS_URL: 'redis://env' } }).redisUrl).toBe('redis://file');
  });
});
