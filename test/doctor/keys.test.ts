import { expect, test } from 'vitest';
import { callsOf, createWard, findingsOf, problems, serve, simulate, type WardOptions } from './ward.ts';

const goodForm = `PMIND${'B'.repeat(27)}:${'fedcba9876543210'.repeat(4)}`;

test('with all well there is no problem, at each kind of provider, and nothing is spent', async () => {
  for (const provider of ['privatemind', 'curate-me', 'openai'] as const) {
    const { simulator, keys } = await simulate({ provider, keys: [{ name: 'a' }, { name: 'b' }] });
    const report = await createWard({ kind: provider, baseUrl: simulator.baseUrl, keys }).examine();
    expect(problems(report), provider).toEqual([]);
    expect(report.ok).toBe(true);
    expect(findingsOf(report, 'key', 'a')).toEqual([expect.objectContaining({ level: 'ok' })]);
    expect(callsOf(simulator)).toBe(0);
    expect(simulator.truth().usageListings > 0).toBe(provider === 'privatemind');
  }
});

test('with --send all well stays well, and each key is sent two completions', async () => {
  for (const provider of ['privatemind', 'curate-me', 'openai'] as const) {
    const { simulator, keys } = await simulate({ provider, keys: [{ name: 'a' }] });
    const report = await createWard({ kind: provider, baseUrl: simulator.baseUrl, keys }).examine({ send: true });
    expect(report.findings.filter(({ level }) => level !== 'ok')).toEqual([]);
    expect(findingsOf(report, 'streaming')).toHaveLength(1);
    expect(simulator.truth().keys['a']?.answered).toBe(2);
  }
});

test.each([
  [
    'half a token',
    'privatemind',
    (secret: string) => secret.split(':')[0] ?? '',
    /half a token/,
    /whole token.*KEY_BAD/,
  ],
  ['the other half', 'privatemind', (secret: string) => secret.split(':')[1] ?? '', /half a token/, /with the colon/],
  ['a wrong prefix', 'privatemind', (secret: string) => secret.slice(1), /wrong prefix/, /Settings → API Keys/],
  ['a space inside', 'privatemind', (secret: string) => secret.replace(':', ': '), /spaces/, /whole token/],
  ['a runner token', 'curate-me', () => `cm_rt_${'a1'.repeat(20)}`, /wrong prefix/, /starts with cm_sk_/],
  ['quotes around it', 'openai', (secret: string) => `"${secret}"`, /header/, /without quotes/],
] as const)('%s is found without being sent, and the good key is looked at', async (_, provider, spoil, what, cure) => {
  const { simulator, keys } = await simulate({ provider, keys: [{ name: 'good' }] });
  const bad = spoil(provider === 'privatemind' ? goodForm : `sk-${'q9'.repeat(20)}`);
  const ward = createWard({ kind: provider, baseUrl: simulator.baseUrl, keys: { bad, ...keys } });
  const report = await ward.examine();
  expect(problems(report)).toEqual([
    expect.objectContaining({
      check: 'key',
      subject: 'bad',
      what: expect.stringMatching(what),
      cure: expect.stringMatching(cure),
    }),
  ]);
  expect(findingsOf(report, 'key', 'good')).toEqual([expect.objectContaining({ level: 'ok' })]);
  expect(simulator.truth().unauthorized).toBe(0);
  expect(JSON.stringify(report)).not.toContain(bad);
});

test('a key that is there twice, and one whose variable is not set, are found', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }] });
  const ward = createWard({ baseUrl: simulator.baseUrl, keys: { ...keys, twin: keys['a'] ?? '', absent: '' } });
  expect(problems(await ward.examine()).map(({ subject, what }) => `${subject}: ${what}`)).toEqual([
    'absent: its secret is not there',
    'twin: the key is there twice',
  ]);
});

test('without a key that is the problem', async () => {
  const { simulator } = await simulate({});
  const report = await createWard({ baseUrl: simulator.baseUrl, keys: {} }).examine();
  expect(problems(report)).toEqual([
    expect.objectContaining({ check: 'keys', what: 'there is no API key', cure: expect.stringContaining('PMIND_KEY') }),
  ]);
});

const refusals: [string, WardOptions['kind'] & string, object, RegExp, RegExp][] = [
  ['a revoked key', 'privatemind', { change: 'revoke_key', key: 'a' }, /is revoked/, /make a new key .*KEY_A/],
  ['an expired key', 'privatemind', { change: 'expire_key', key: 'a' }, /is expired/, /no grace/],
  ['a revoked gateway key', 'curate-me', { change: 'revoke_key', key: 'a' }, /is revoked/, /cannot be reinstated/],
  ['a rotated key', 'curate-me', { change: 'rotate_key', key: 'a' }, /rotated/, /put the new key into KEY_A/],
  ['an ended trial', 'curate-me', { change: 'end_trial', key: 'a' }, /trial has ended/, /choose a plan/],
  ['a suspended organisation', 'curate-me', { change: 'suspend_org', org: 'sim-org' }, /suspended/, /its owner/],
  [
    'a foreign address',
    'curate-me',
    { change: 'set_allowed_ips', key: 'a', allowedIps: ['10.0.0.1'] },
    /address/,
    /IP allowlist/,
  ],
  ['a revoked OpenAI-shaped key', 'openai', { change: 'revoke_key', key: 'a' }, /revoked|not known/, /KEY_A/],
];

test.each(refusals)('%s is found by what the provider says of it', async (_, provider, change, what, cure) => {
  const { simulator, keys } = await simulate({ provider, keys: [{ name: 'a' }] });
  simulator.control(change as Parameters<typeof simulator.control>[0]);
  const report = await createWard({ kind: provider, baseUrl: simulator.baseUrl, keys }).examine({ send: true });
  expect(problems(report)).toEqual([
    expect.objectContaining({
      check: 'key',
      subject: 'a',
      what: expect.stringMatching(what),
      evidence: expect.stringMatching(/^HTTP 40[13] /),
      cure: expect.stringMatching(cure),
    }),
  ]);
  expect(callsOf(simulator)).toBe(0);
});

test('a provider that echoes the key does not get it into a finding', async () => {
  const baseUrl = await serve((request, response) => {
    const token = String(request.headers.authorization).slice('Bearer '.length);
    const message = `Invalid API key ${token}, that is ${token.split(':')[1]?.toUpperCase()} or ${token.slice(0, 20)}…`;
    response.writeHead(401, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: { message, code: 'invalid_api_key' } }));
  });
  const report = await createWard({ baseUrl, keys: { a: goodForm } }).examine();
  expect(problems(report)).toEqual([
    expect.objectContaining({ check: 'key', what: expect.stringMatching(/not known/) }),
  ]);
  const shown = JSON.stringify(report).toLowerCase();
  const [id = '', secret = ''] = goodForm.toLowerCase().split(':');
  for (const part of [id, secret, id.slice(0, 16)]) expect(shown).not.toContain(part);
  expect(shown).toContain('[key a]');
});
