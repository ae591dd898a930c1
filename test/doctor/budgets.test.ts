import { expect, test } from 'vitest';
import { keyIdOf } from '../../src/keys/keyring.ts';
import { retireKeys } from '../../src/keys/standing.ts';
import { chat, chatCurateMe } from '../simulator/client.ts';
import { testRedis } from '../support/redis.ts';
import { callsOf, createWard, findingsOf, problems, serve, simulate } from './ward.ts';

const redis = testRedis();
const { namespace } = redis;

test('a model that is listed but not allowed for the key is found by --send', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }], listForbiddenModels: true });
  const everything = await createWard({ baseUrl: simulator.baseUrl, keys }).examine();
  const [aliases] = findingsOf(everything, 'aliases');
  const fast = /fast → (\S+)/.exec(aliases?.what ?? '')?.[1] ?? '';
  const reasoning = /reasoning → (\S+)/.exec(aliases?.what ?? '')?.[1] ?? '';
  simulator.control({ change: 'restrict_key', key: 'a', allowedModels: [reasoning] });
  const ward = createWard({ baseUrl: simulator.baseUrl, keys });
  expect((await ward.examine()).ok).toBe(true);
  expect(problems(await ward.examine({ send: true }))).toEqual([
    expect.objectContaining({
      check: 'models',
      what: `${fast} is listed, but not for this key`,
      evidence: expect.stringMatching(/^HTTP 403 /),
      cure: expect.stringContaining('allowed models of "a"'),
    }),
  ]);
});

test('a key whose listing leaves out what fast means is warned of; one without chat models is a problem', async () => {
  const { simulator, keys } = await simulate({
    models: [
      { id: 'quick', aliases: ['fast'] },
      { id: 'deep', aliases: ['reasoning'] },
      { id: 'embed', model_type: 'embedding', supported_parameters: [] },
    ],
    keys: [
      { name: 'narrow', allowedModels: ['deep'] },
      { name: 'mute', allowedModels: ['embed'] },
    ],
  });
  const report = await createWard({ baseUrl: simulator.baseUrl, keys }).examine();
  expect(findingsOf(report, 'aliases', 'narrow')).toEqual([
    expect.objectContaining({
      level: 'warning',
      what: 'no model answers to fast',
      evidence: expect.stringContaining('reasoning → deep'),
    }),
  ]);
  expect(problems(report)).toEqual([
    expect.objectContaining({ check: 'models', subject: 'mute', what: expect.stringMatching(/chat completions/) }),
  ]);
});

test.each([
  ['key', { change: 'set_key_budget', key: 'a', budgetUsd: 1e-9 }, /^the key\u2019s budget/, /raise the key's budget/],
  [
    'organisation',
    { change: 'set_org_budget', org: 'sim-org', budgetUsd: 1e-9 },
    /^the organisation\u2019s/,
    /1st of the month/,
  ],
] as const)('an exhausted %s is found by --send', async (_, change, what, cure) => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }] });
  await chat(simulator);
  simulator.control(change);
  const ward = createWard({ baseUrl: simulator.baseUrl, keys });
  expect(problems(await ward.examine({ send: true }))).toEqual([
    expect.objectContaining({
      check: 'budget',
      what: expect.stringMatching(what),
      evidence: expect.stringMatching(/^HTTP 402 /),
      cure: expect.stringMatching(cure),
    }),
  ]);
});

test('an exhausted key is known without spending where our Redis remembers it', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }, { name: 'b' }] });
  const ward = createWard({ baseUrl: simulator.baseUrl, keys, namespace });
  await retireKeys(redis.client, redis.names, [keyIdOf(keys['a'] ?? '')], 'exhausted', null);
  await retireKeys(redis.client, redis.names, [keyIdOf(keys['b'] ?? '')], 'revoked', null);
  const report = await ward.examine();
  expect(problems(report)).toEqual([
    expect.objectContaining({
      check: 'budget',
      subject: 'a',
      evidence: 'our Redis remembers: retired (exhausted)',
      cure: expect.stringContaining('nightshift keys resume a'),
    }),
  ]);
  expect(findingsOf(report, 'key', 'b').at(-1)).toMatchObject({ level: 'warning', cure: 'nightshift keys resume b' });
  expect(callsOf(simulator)).toBe(0);
});

test('our own budgets and a limit learnt below the configured one are read from Redis', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'own' }] });
  const id = keyIdOf(keys['own'] ?? '');
  await redis.client.hset(redis.names.key(id), { spent: 2e9, top: 40, learnt: 40, sure: '1' });
  const ward = createWard({ baseUrl: simulator.baseUrl, keys, namespace, key: { budgetUsd: 2, rpm: 300 } });
  const report = await ward.examine();
  expect(problems(report)).toEqual([expect.objectContaining({ check: 'budget', what: 'our own budgetUsd is spent' })]);
  expect(findingsOf(report, 'limits')).toEqual([
    expect.objectContaining({ level: 'warning', evidence: expect.stringMatching(/configured 300 · learnt 40/) }),
  ]);
});

test('Curate-Me\u2019s daily headers tell of a day that is spent', async () => {
  const { simulator, keys } = await simulate({ provider: 'curate-me', keys: [{ name: 'a' }] });
  expect((await chatCurateMe(simulator)).headers.get('x-cm-daily-cost')).toMatch(/\d/);
  const baseUrl = await serve((request, response) => {
    response
      .setHeader('x-cm-daily-cost', '25.10')
      .setHeader('x-cm-daily-budget', '25')
      .setHeader('ratelimit-limit', '60');
    response.setHeader('ratelimit-reset', '30');
    const isMe = request.url === '/v1/admin/me';
    response.end(
      JSON.stringify(isMe ? { org_id: 'o', plan: 'p', status: 'active' } : { data: [{ id: 'some-model' }] }),
    );
  });
  const report = await createWard({ kind: 'curate-me', baseUrl, keys, key: { rpm: 100 } }).examine();
  expect(problems(report)).toEqual([
    expect.objectContaining({ check: 'budget', evidence: 'X-CM-Daily-Cost 25.1 of X-CM-Daily-Budget 25 USD' }),
  ]);
  expect(findingsOf(report, 'limits')).toEqual([
    expect.objectContaining({ level: 'warning', cure: expect.stringContaining('to 60') }),
  ]);
});
