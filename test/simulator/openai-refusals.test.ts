import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { chatOpenai, post, type Ask } from './client.ts';

const provider = 'openai';

type Row = { why: string; ask?: Ask; fields?: object; status: number; error: object };
const rows: Row[] = [
  { why: 'no key', ask: { key: null }, status: 401, error: { code: null, type: 'invalid_request_error' } },
  { why: 'another scheme', ask: { authorization: 'Basic abc' }, status: 401, error: { code: null } },
  {
    why: 'an unknown key, whose ends it echoes',
    ask: { authorization: `Bearer sk-${'0123456789abcdef'.repeat(3)}` },
    status: 401,
    error: { code: 'invalid_api_key', message: 'Incorrect API key provided: sk-01234***cdef' },
  },
  { why: 'a revoked key', ask: { key: 'revoked' }, status: 401, error: { code: 'invalid_api_key' } },
  {
    why: 'an unknown model',
    fields: { model: 'gpt-0' },
    status: 404,
    error: { code: 'model_not_found', param: 'model' },
  },
  { why: 'a model for batches', fields: { model: 'gpt-5-mini:batch' }, status: 404, error: { code: null } },
  { why: 'an embedding model', fields: { model: 'text-embedding-3-small' }, status: 404, error: { param: 'model' } },
  {
    why: 'a model out of the key’s reach',
    ask: { key: 'narrow' },
    fields: { model: 'gpt-5' },
    status: 403,
    error: { code: 'model_not_found' },
  },
  {
    why: 'an unknown parameter',
    fields: { colour: 1 },
    status: 400,
    error: { code: 'unknown_parameter', param: 'colour' },
  },
  {
    why: 'max_completion_tokens over the context',
    fields: { max_completion_tokens: 131_072 },
    status: 400,
    error: { code: 'context_length_exceeded', param: 'max_completion_tokens' },
  },
  { why: 'no messages', fields: { messages: [] }, status: 400, error: { param: 'messages' } },
  {
    why: 'an unknown effort',
    fields: { model: 'gpt-5', reasoning_effort: 'max' },
    status: 400,
    error: { param: 'reasoning_effort' },
  },
];

describe('an OpenAI-shaped provider refuses', () => {
  test.each(rows)('with $status $why', async ({ ask, fields, status, error }) => {
    const keys = [
      { name: 'good' },
      { name: 'revoked', revoked: true },
      { name: 'narrow', allowedModels: ['gpt-5-mini'] },
    ];
    await using simulator = await createSimulator({ scenario: { provider, keys } });
    const answer = await chatOpenai(simulator, fields, ask);
    expect(answer.status).toBe(status);
    expect(Object.keys(answer.json.error)).toEqual(['message', 'type', 'param', 'code']);
    expect(answer.json.error).toMatchObject(error);
    expect(answer.headers.get('x-request-id')).toMatch(/^req_/);
  });

  test('with 413 a body that is too large, with 400 one that is no JSON, with 404 a wrong path', async () => {
    await using simulator = await createSimulator({ scenario: { provider, maxBodyBytes: 20 } });
    expect((await chatOpenai(simulator)).status).toBe(413);
    expect((await post(simulator, '/v1/chat/completions', { body: '{' })).status).toBe(400);
    expect((await post(simulator, '/chat/completions', { body: '{}' })).json.error.code).toBe('unknown_url');
  });
});

type Broke = { why: string; scenario: ScenarioInput; whose: 'key' | 'org'; status: number; error: object };
const quota = (code: string) => ({ code, type: 'insufficient_quota' });
const metadata = (limitSource: string) => ({ code: 402, metadata: { limit_source: limitSource } });
const spent: Broke[] = [
  { why: 'a project', scenario: {}, whose: 'key', status: 429, error: quota('project_spend_limit_exceeded') },
  { why: 'a quota', scenario: {}, whose: 'org', status: 429, error: quota('insufficient_quota') },
  {
    why: 'credits',
    scenario: { quotaCodes: { org: 'credit_balance_exhausted' } },
    whose: 'org',
    status: 429,
    error: quota('credit_balance_exhausted'),
  },
  {
    why: 'an organisation',
    scenario: { quotaCodes: { org: 'organization_spend_limit_exceeded' } },
    whose: 'org',
    status: 429,
    error: quota('organization_spend_limit_exceeded'),
  },
  {
    why: 'a LiteLLM budget',
    scenario: { flavour: 'litellm' },
    whose: 'key',
    status: 429,
    error: {
      type: 'budget_exceeded',
      param: null,
      code: '429',
      message: expect.stringContaining('Budget has been exceeded'),
    },
  },
  {
    why: 'a LiteLLM budget of another version',
    scenario: { flavour: 'litellm', budgetStatus: 400 },
    whose: 'org',
    status: 400,
    error: { type: 'budget_exceeded', code: '400' },
  },
  {
    why: 'an OpenRouter key',
    scenario: { flavour: 'openrouter' },
    whose: 'key',
    status: 402,
    error: metadata('openrouter_key_limit'),
  },
  {
    why: 'OpenRouter credits',
    scenario: { flavour: 'openrouter' },
    whose: 'org',
    status: 402,
    error: metadata('openrouter_credits'),
  },
];

test.each(spent)('money is gone, of $why: $status', async ({ scenario, whose, status, error }) => {
  await using simulator = await createSimulator({
    scenario: { provider, keys: [{ name: 'a', org: 'o' }], ...scenario },
  });
  simulator.control(
    whose === 'key'
      ? { change: 'set_key_budget', key: 'a', budgetUsd: 0 }
      : { change: 'set_org_budget', org: 'o', budgetUsd: 0 },
  );
  const answer = await chatOpenai(simulator);
  expect(answer.status).toBe(status);
  expect(answer.json.error).toMatchObject(error);
  expect([...answer.headers.keys()].filter((name) => name.startsWith('retry'))).toEqual([]);
  await chatOpenai(simulator);
  const { keys, orgs } = simulator.truth();
  expect([keys['a']?.callsAfter402, orgs['o']?.callsAfterOrgCap]).toEqual(whose === 'key' ? [1, 0] : [0, 1]);
});
