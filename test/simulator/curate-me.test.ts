import { expect, test } from 'vitest';
import { createSimulator } from '../../src/simulator/server.ts';
import { chatCurateMe, gatewayHeaders, get, post, question } from './client.ts';

const provider = 'curate-me';
/** 5 prompt tokens and 10 completion tokens at these prices: 0.000015 USD. */
const models = [{ id: 'gpt-5-mini', cost: { input_per_m_token: 1, output_per_m_token: 1 } }];
const priced = { provider, models, outputTokens: 10 } as const;

test('the gateway’s key goes in its own header, or as a bearer', async () => {
  await using simulator = await createSimulator({ scenario: { provider } });
  const { token } = simulator.keys[0]!;
  expect(token).toMatch(/^cm_sk_[0-9a-f]{48}$/);
  expect((await chatCurateMe(simulator)).status).toBe(200);
  expect((await chatCurateMe(simulator, {}, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
  expect(simulator.environment).toEqual({
    CM_BASE_URL: simulator.baseUrl,
    CM_API_KEYS: simulator.keys.map((key) => key.token).join(','),
  });
});

test('an upstream key, where one is needed, comes as a bearer or in a header of its own', async () => {
  await using simulator = await createSimulator({ scenario: { provider, requireUpstreamKey: true } });
  const own = gatewayHeaders(simulator);
  const bearer = `Bearer ${simulator.keys[0]!.token}`;
  const ask = async (headers: Record<string, string>): Promise<number> =>
    (await chatCurateMe(simulator, {}, { headers })).status;
  expect(await ask({ ...own, authorization: 'Bearer sk-upstream' })).toBe(200);
  expect(await ask({ ...own, 'x-provider-key': 'sk-upstream' })).toBe(200);
  expect(await ask({ authorization: bearer, 'x-provider-key': 'sk-upstream' })).toBe(200);
  // A bearer that is the gateway's own key is no upstream key.
  expect(await ask({ authorization: bearer })).toBe(401);
  expect(await ask(own)).toBe(401);
  // Only completions need it.
  expect((await get(simulator, '/v1/admin/me', { headers: own })).status).toBe(200);
});

test('a key says who it is, and the models are OpenAI’s list without second names', async () => {
  await using simulator = await createSimulator({ scenario: { provider, keys: [{ name: 'a', org: 'acme' }] } });
  const headers = gatewayHeaders(simulator);
  expect((await get(simulator, '/v1/admin/me', { headers })).json).toEqual({
    org_id: 'acme',
    plan: expect.any(String),
    status: 'active',
  });
  expect((await get(simulator, '/v1/admin/me', { key: null })).status).toBe(401);
  const { status, json } = await get(simulator, '/v1/models', { headers });
  expect(status).toBe(200);
  expect(json.object).toBe('list');
  expect(json.data.map(({ id }: { id: string }) => id)).toContain('gpt-5-mini');
  for (const model of json.data) {
    expect(model).toMatchObject({ object: 'model', provider: 'openai' });
    expect(model).not.toHaveProperty('aliases');
  }
  expect((await get(simulator, '/v1/models', { key: null })).status).toBe(401);
});

test('the path names the provider; without one it is a 404', async () => {
  await using simulator = await createSimulator({ scenario: { provider } });
  const body = { model: 'gpt-5-mini', messages: [question] };
  const headers = gatewayHeaders(simulator);
  expect((await post(simulator, '/v1/anthropic/chat/completions', { headers, body })).status).toBe(200);
  expect((await post(simulator, '/v1/chat/completions', { headers, body })).json.error.code).toBe('not_found');
  expect((await get(simulator, '/v1/usage', { headers })).status).toBe(404);
});

test('headers tell the cost, the day’s spend and the rate', async () => {
  await using simulator = await createSimulator({
    now: () => Date.UTC(2026, 0, 15),
    scenario: { ...priced, keys: [{ name: 'a', rpm: 10, org: 'o' }], orgs: { o: { budgetUsd: 1 } } },
  });
  await chatCurateMe(simulator);
  const { headers, json } = await chatCurateMe(simulator);
  expect(headers.get('x-cm-request-id')).toMatch(/^gw_/);
  expect(Number(headers.get('x-cm-cost'))).toBe(0.000015);
  expect(Number(headers.get('x-cm-daily-cost'))).toBe(0.00003);
  expect(Number(headers.get('x-cm-daily-budget'))).toBe(1);
  expect(headers.get('ratelimit-limit')).toBe('10');
  expect(headers.get('ratelimit-remaining')).toBe('8');
  expect(headers.get('ratelimit-reset')).toBe('60');
  expect(json.usage).not.toHaveProperty('cost_usd');
  expect(simulator.truth().keys['a']).toMatchObject({ costNanoUsd: 30_000 });
});

test('the older shape tells the rate under its own names, and the reset as a Unix time', async () => {
  const nowMs = Date.UTC(2026, 0, 15);
  await using simulator = await createSimulator({ now: () => nowMs, scenario: { provider, errorShape: 'older' } });
  const { headers } = await chatCurateMe(simulator);
  expect(headers.get('x-ratelimit-remaining')).toBe('599');
  expect(headers.get('x-ratelimit-reset')).toBe(String(nowMs / 1000 + 60));
  expect(headers.get('ratelimit-limit')).toBeNull();
});

test('a stream passes through unchanged, with the same headers', async () => {
  await using simulator = await createSimulator({ scenario: { ...priced, latencyMs: 20 } });
  const { status, text, headers } = await chatCurateMe(simulator, { stream: true });
  expect(status).toBe(200);
  expect(headers.get('content-type')).toBe('text/event-stream');
  expect(Number(headers.get('x-cm-cost'))).toBe(0.000015);
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  expect(text).not.toContain('"usage"');
});

test('a key of a rotation works until its grace is over', async () => {
  let nowMs = 1000;
  await using simulator = await createSimulator({ now: () => nowMs, scenario: { provider } });
  simulator.control({ change: 'rotate_key', key: 'sim-1', graceMs: 500 });
  nowMs = 1499;
  expect((await chatCurateMe(simulator)).status).toBe(200);
  nowMs = 1500;
  expect((await chatCurateMe(simulator)).json.error.code).toBe('key_rotated');
  simulator.control({ change: 'restore_key', key: 'sim-1' });
  expect((await chatCurateMe(simulator)).status).toBe(200);
});

test('the organisation’s day begins anew at 00:00 UTC: its spend, its plan, and the count of who asks on', async () => {
  let nowMs = Date.UTC(2026, 0, 15, 23, 59, 59);
  await using simulator = await createSimulator({
    now: () => nowMs,
    scenario: {
      ...priced,
      keys: [
        { name: 'a', org: 'money' },
        { name: 'b', org: 'calls' },
      ],
      orgs: { money: { budgetUsd: 0.000015 }, calls: { dailyCalls: 1 } },
    },
  });
  const ask = async (key: string): Promise<number> => (await chatCurateMe(simulator, {}, { key })).status;
  const day = async (): Promise<number[]> => [
    await ask('a'),
    await ask('a'),
    await ask('a'),
    await ask('b'),
    await ask('b'),
    await ask('b'),
  ];
  expect(await day()).toEqual([200, 402, 402, 200, 429, 429]);
  expect(simulator.truth().orgs).toMatchObject({ money: { callsAfterOrgCap: 1 }, calls: { callsAfterOrgCap: 1 } });
  nowMs += 1000;
  expect(await day()).toEqual([200, 402, 402, 200, 429, 429]);
  simulator.control([
    { change: 'reset_daily_budget', org: 'money' },
    { change: 'reset_daily_budget', org: 'calls' },
  ]);
  expect(simulator.truth().orgs).toMatchObject({ money: { callsAfterOrgCap: 0 }, calls: { callsAfterOrgCap: 0 } });
  expect([await ask('a'), await ask('b')]).toEqual([200, 200]);
});

test('a team’s budget stops its keys and no others', async () => {
  await using simulator = await createSimulator({
    scenario: {
      ...priced,
      keys: [{ name: 'a', team: 'red' }, { name: 'b', team: 'red' }, { name: 'c' }],
      teams: { red: { budgetUsd: 0.000015 } },
    },
  });
  const ask = async (key: string): Promise<number> => (await chatCurateMe(simulator, {}, { key })).status;
  expect([await ask('a'), await ask('b'), await ask('a'), await ask('c')]).toEqual([200, 402, 402, 200]);
  expect(simulator.truth().teams).toEqual({ red: { billed: 1, costNanoUsd: 15_000, callsAfterCap: 1 } });
  simulator.control({ change: 'set_team_budget', team: 'red', budgetUsd: null });
  expect(await ask('b')).toBe(200);
  expect(simulator.truth().teams['red']?.callsAfterCap).toBe(0);
});

test('what is refused for what it says takes no place in the window', async () => {
  await using simulator = await createSimulator({
    now: () => 5,
    scenario: { provider, keys: [{ name: 'a', rpm: 1 }] },
  });
  const messages = [{ role: 'user', content: '[simulate: injection]' }];
  expect((await chatCurateMe(simulator, { messages })).status).toBe(403);
  expect([(await chatCurateMe(simulator)).status, (await chatCurateMe(simulator)).status]).toEqual([200, 429]);
});
