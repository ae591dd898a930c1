import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import type { KeyConfig, ProviderConfig } from '../../src/config.ts';
import { AppError } from '../../src/errors.ts';
import { createKeyring, keyIdOf, requireKeys } from '../../src/keys/keyring.ts';

const hex = (seed: string) => createHash('sha256').update(seed).digest('hex');
const accessId = (seed: string) => `PMIND${hex(seed).slice(0, 27).toUpperCase()}`;
const secretOf = (seed: string) => `${accessId(seed)}:${hex(`secret of ${seed}`)}`;

const providers: Record<string, ProviderConfig> = {
  sim: { name: 'sim', kind: 'privatemind', baseUrl: 'http://127.0.0.1:1', windowMs: 60_000 },
};

function keyConfig(name: string, secret = secretOf(name), change: Partial<KeyConfig> = {}): KeyConfig {
  return {
    name,
    provider: 'sim',
    secretFrom: `KEY_OF_${name.toUpperCase()}`,
    secret,
    upstreamSecret: null,
    rpm: 60,
    tpm: null,
    tpmCounts: 'used',
    maxInFlight: null,
    budgetNanoUsd: null,
    org: 'acme',
    bucket: null,
    ...change,
  };
}

const ring = (...keys: KeyConfig[]) => createKeyring({ keys, providers });

test('a key is known by its name and by the first 12 hex of its hash', () => {
  const { keys, byId } = ring(keyConfig('team-a'), keyConfig('team-b', secretOf('b'), { bucket: 'shared' }));
  expect(keys.map(({ name, bucketId }) => ({ name, bucketId }))).toEqual([
    { name: 'team-a', bucketId: hex(secretOf('team-a')).slice(0, 12) },
    { name: 'team-b', bucketId: 'shared' },
  ]);
  expect(byId.get(keyIdOf(secretOf('b')))).toBe(keys[1]);
  expect(keys[0]?.provider).toBe(providers['sim']);
});

const tail = hex('tail');
test.each([
  { what: 'the access key id alone', secret: accessId('a'), says: /only the access key id/ },
  { what: 'the secret half alone', secret: tail, says: /only one half, without the colon/ },
  { what: 'a space inside', secret: `${accessId('a')}: ${tail}`, says: /holds spaces or line breaks/ },
  { what: 'a line break at the end', secret: `${secretOf('a')}\n`, says: /holds spaces or line breaks/ },
  { what: 'another provider\u2019s key', secret: `sk-proj-abc:${tail}`, says: /must start with PMIND/ },
  { what: 'a secret cut short', secret: `${accessId('a')}:${tail.slice(0, 40)}`, says: /this has 40 characters/ },
  { what: 'nothing behind the colon', secret: `${accessId('a')}:`, says: /this has 0 characters/ },
  { what: 'letters that are no hex', secret: `${accessId('a')}:${'z'.repeat(64)}`, says: /64 hex characters/ },
  { what: 'two tokens in one', secret: `${secretOf('a')}:${tail}`, says: /64 hex characters/ },
])('a key with $what is refused by name and variable, and not shown', ({ secret, says }) => {
  const refusal = refusalOf(() => ring(keyConfig('team-a', secret)));
  expect(refusal.code).toBe('config');
  expect(refusal.message).toMatch(says);
  expect(refusal.message).toContain('"team-a" (from KEY_OF_TEAM-A)');
  for (const part of secret.split(/[:\s]/).filter(({ length }) => length > 8))
    expect(refusal.message).not.toContain(part);
});

test('the same secret under two names is refused', () => {
  const refusal = refusalOf(() => ring(keyConfig('team-a', secretOf('x')), keyConfig('team-b', secretOf('x'))));
  expect(refusal.message).toBe('keys "team-a" and "team-b" hold the same secret');
});

test('a key of a provider that is not configured is refused', () => {
  expect(refusalOf(() => ring(keyConfig('a', secretOf('a'), { provider: 'nobody' }))).message).toContain('"nobody"');
});

test('a command that needs a key says how to give one', () => {
  const refusal = refusalOf(() => requireKeys(ring()));
  expect(refusal.code).toBe('credentials');
  expect(refusal.message).toContain('PMIND_KEY');
  expect(() => requireKeys(ring(keyConfig('a')))).not.toThrow();
});

// ── redaction ──

const { redact } = ring(keyConfig('team-a'), keyConfig('team-b'));
const [id = '', secret = ''] = secretOf('team-a').split(':');

test.each([
  {
    what: 'whole, in a header',
    text: `authorization: Bearer ${id}:${secret}`,
    clean: 'authorization: Bearer [key team-a]',
  },
  { what: 'whole, in JSON', text: `{"key":"${secretOf('team-b')}"}`, clean: '{"key":"[key team-b]"}' },
  { what: 'its id', text: `Key ${id} is expired`, clean: 'Key [key team-a] is expired' },
  { what: 'its secret half', text: `no such secret ${secret}.`, clean: 'no such secret [key team-a].' },
  { what: 'the beginning of its secret', text: `got ${secret.slice(0, 16)}…`, clean: 'got [key team-a]…' },
  { what: 'the end of its secret', text: `ends in …${secret.slice(-14)}`, clean: 'ends in …[key team-a]' },
  { what: 'the beginning of its id', text: `key ${id.slice(0, 14)}*****`, clean: 'key [key team-a]*****' },
  { what: 'in other letters', text: `key ${id.toLowerCase()}`, clean: 'key [key team-a]' },
  { what: 'its secret in capitals', text: secret.toUpperCase(), clean: '[key team-a]' },
  { what: 'in a URL', text: `?k=${id}%3A${secret}&x=1`, clean: '?k=[key team-a]%3A[key team-a]&x=1' },
  { what: 'twice', text: `${secret} ${secret}`, clean: '[key team-a] [key team-a]' },
  { what: 'a stranger\u2019s', text: `use ${secretOf('stranger')}`, clean: 'use [key]' },
  { what: 'a stranger\u2019s id', text: `use ${accessId('stranger')} please`, clean: 'use [key] please' },
  { what: 'an OpenAI key', text: 'Incorrect API key: sk-proj-aB3_dE6-gH9jK2mN.', clean: 'Incorrect API key: [key].' },
  { what: 'a gateway key', text: '"cm_sk_0123456789abcdef"', clean: '"[key]"' },
])('redacts a key: $what', ({ text, clean }) => {
  expect(redact(text)).toBe(clean);
});

test.each([
  'Rate limit exceeded for model deepseek-v4-pro',
  'request 8f14e45fceea167a5a36dedd4bea2543 failed', // an id, not part of any key
  'PMIND keys start with PMIND',
  'the task-force at sk-12 is internationalization',
  '',
])('leaves alone: %s', (text) => {
  expect(redact(text)).toBe(text);
});

test('the fingerprint may be shown: it is not part of the secret', () => {
  const text = `key ${keyIdOf(secretOf('team-a'))}`;
  expect(redact(text)).toBe(text);
});

function refusalOf(work: () => unknown): AppError {
  try {
    work();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('was not refused');
}
