import { expect, test } from 'vitest';
import { createSimulator } from '../../src/simulator/server.ts';
import { chat, get } from './client.ts';

test('the listing shows prices to a key and hides them from a stranger', async () => {
  await using simulator = await createSimulator();
  const open = await get(simulator, '/v1/models', { key: null });
  const keyed = await get(simulator, '/v1/models');
  expect(open.status).toBe(200);
  expect(open.json.object).toBe('list');
  expect(open.json.data.some((model: object) => 'cost' in model)).toBe(false);
  expect(keyed.json.data.find(({ id }: { id: string }) => id === 'qwen3-30b-instruct')).toMatchObject({
    object: 'model',
    context_length: 131_072,
    model_type: 'chat',
    capabilities: { tools: true },
    aliases: ['fast', 'default'],
    cost: { input_per_m_token: 0.15, output_per_m_token: 0.6 },
  });
  expect(simulator.truth().modelListings).toBe(2);
});

test('the listing refuses a broken key and a revoked one', async () => {
  await using simulator = await createSimulator({
    scenario: { keys: [{ name: 'a' }, { name: 'dead', revoked: true }] },
  });
  expect((await get(simulator, '/v1/models', { authorization: 'Bearer half' })).status).toBe(401);
  expect((await get(simulator, '/v1/models', { key: 'dead' })).status).toBe(401);
});

test('a restricted key sees only its models, unless the scenario shows all', async () => {
  const keys = [{ name: 'narrow', allowedModels: ['deepseek-v4-pro'] }];
  await using simulator = await createSimulator({ scenario: { keys } });
  await using open = await createSimulator({ scenario: { keys, listForbiddenModels: true } });
  expect((await get(simulator, '/v1/models')).json.data.map(({ id }: { id: string }) => id)).toEqual([
    'deepseek-v4-pro',
  ]);
  expect((await get(open, '/v1/models')).json.data).toHaveLength(4);
});

test('the usage listing shows a key its own calls, newest first, by concrete model', async () => {
  const nowMs = Date.UTC(2026, 4, 2, 12);
  await using simulator = await createSimulator({
    scenario: { keys: [{ name: 'a' }, { name: 'b' }] },
    now: () => nowMs,
  });
  const answers = [await chat(simulator), await chat(simulator, { model: 'vision' })];
  await chat(simulator, {}, { key: 'b' });
  const { status, json } = await get(simulator, '/v1/usage');
  expect(status).toBe(200);
  expect(json.success).toBe(true);
  expect(json.data.map(({ model }: { model: string }) => model)).toEqual(['pixtral-12b', 'qwen3-30b-instruct']);
  const { usage } = answers[0]!.json;
  expect(json.data[1]).toEqual({
    id: answers[0]!.headers.get('x-request-id'),
    model: 'qwen3-30b-instruct',
    prompt_tokens: usage.prompt_tokens,
    cached_prompt_tokens: 0,
    completion_tokens: usage.completion_tokens,
    cost_usd: usage.cost_usd,
    latency_ms: 0,
    status_code: 200,
    created_at: '2026-05-02T12:00:00.000Z',
    metadata: null,
  });
  expect((await get(simulator, '/v1/usage?limit=1')).json.data).toHaveLength(1);
  expect((await get(simulator, '/v1/usage?from=2026-05-02')).json.data).toHaveLength(2);
  expect((await get(simulator, '/v1/usage?from=2026-05-03')).json.data).toEqual([]);
});

test('the usage listing needs a key and well-formed questions', async () => {
  await using simulator = await createSimulator();
  expect((await get(simulator, '/v1/usage?limit=1', { key: null })).status).toBe(401);
  expect((await get(simulator, '/v1/usage?limit=0')).json.error.param).toBe('limit');
  expect((await get(simulator, '/v1/usage?from=yesterday')).json.error.param).toBe('from');
  expect((await get(simulator, '/v1/usage?from=2026-13-45')).status).toBe(400);
});

test('the usage log forgets the oldest calls', async () => {
  await using simulator = await createSimulator({ scenario: { usageLogSize: 3 } });
  const ids = [];
  for (let call = 0; call < 5; call += 1) ids.push((await chat(simulator)).headers.get('x-request-id'));
  const { json } = await get(simulator, '/v1/usage');
  expect(json.data.map(({ id }: { id: string }) => id)).toEqual(ids.slice(2).toReversed());
});
