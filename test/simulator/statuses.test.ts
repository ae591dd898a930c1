import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import { chat, get, headersOf, post, question, type Ask } from './client.ts';

let simulator: Simulator;
beforeAll(async () => {
  simulator = await createSimulator({
    now: () => Date.UTC(2026, 0, 15),
    scenario: {
      keys: [
        { name: 'good', rpm: null },
        { name: 'revoked', revoked: true },
        { name: 'expired', expiresAt: '2026-01-15T00:00:00Z' },
        { name: 'narrow', allowedModels: ['qwen3-30b-instruct'] },
        { name: 'poor', budgetUsd: 0 },
        { name: 'poor-org', org: 'broke' },
        { name: 'full', rpm: 1 },
      ],
      orgs: { broke: { budgetUsd: 0 } },
    },
  });
});
afterAll(() => simulator.close());

const half = (): string => headersOf(simulator).authorization!.split(':')[0]!;
const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } };

type Row = { why: string; ask?: () => Ask; fields?: object; status: number; error: object };
const rows: Row[] = [
  {
    why: 'no key',
    ask: () => ({ key: null }),
    status: 401,
    error: { message: /Missing Authorization/, type: 'authentication_error', code: 'invalid_api_key' },
  },
  {
    why: 'another scheme',
    ask: () => ({ authorization: 'Basic abc' }),
    status: 401,
    error: { code: 'invalid_api_key' },
  },
  {
    why: 'half a token',
    ask: () => ({ authorization: half() }),
    status: 401,
    error: { message: /Incomplete/, code: 'invalid_api_key' },
  },
  {
    why: 'an unknown token',
    ask: () => ({ authorization: `Bearer PMIND${'X'.repeat(27)}:${'0'.repeat(64)}` }),
    status: 401,
    error: { message: 'Invalid API key', code: 'invalid_api_key' },
  },
  {
    why: 'a revoked key',
    ask: () => ({ key: 'revoked' }),
    status: 401,
    error: { message: 'API key revoked', code: 'key_revoked' },
  },
  {
    why: 'an expired key, at the very moment',
    ask: () => ({ key: 'expired' }),
    status: 401,
    error: { message: 'API key expired', code: 'key_expired' },
  },
  {
    why: 'an unknown model',
    fields: { model: 'gpt-0' },
    status: 400,
    error: { message: 'Unknown model: gpt-0', type: 'invalid_request_error', code: 'model_not_found', param: 'model' },
  },
  { why: 'no model', fields: { model: undefined }, status: 400, error: { param: 'model' } },
  { why: 'an embedding model', fields: { model: 'bge-m3' }, status: 400, error: { code: 'model_not_chat' } },
  {
    why: 'an unsupported parameter',
    fields: { reasoning_effort: 'low' },
    status: 400,
    error: { code: 'unsupported_parameter', param: 'reasoning_effort' },
  },
  {
    why: 'a parameter nobody knows',
    fields: { logit_bias: {} },
    status: 400,
    error: { code: 'unsupported_parameter', param: 'logit_bias' },
  },
  {
    why: 'response_format on a model without it',
    fields: { model: 'vision', response_format: { type: 'json_object' } },
    status: 400,
    error: { code: 'unsupported_parameter', param: 'response_format' },
  },
  {
    why: 'an image for a model without eyes',
    fields: { messages: [{ role: 'user', content: [image] }] },
    status: 400,
    error: { param: 'messages' },
  },
  {
    why: 'max_tokens over the context',
    fields: { max_tokens: 131_068 },
    status: 400,
    error: { code: 'context_length_exceeded', param: 'max_tokens' },
  },
  { why: 'max_tokens of zero', fields: { max_tokens: 0 }, status: 400, error: { param: 'max_tokens' } },
  {
    why: 'a prompt over the context',
    fields: { model: 'vision', messages: [{ role: 'user', content: 'x'.repeat(4 * 32_768) }] },
    status: 400,
    error: { code: 'context_length_exceeded' },
  },
  { why: 'no messages', fields: { messages: [] }, status: 400, error: { param: 'messages' } },
  {
    why: 'an empty message',
    fields: { messages: [question, { role: 'user', content: '' }] },
    status: 400,
    error: { message: 'Empty message', param: 'messages[1].content' },
  },
  {
    why: 'an assistant who starts',
    fields: { messages: [{ role: 'assistant', content: 'Hello' }] },
    status: 400,
    error: { param: 'messages[0].role' },
  },
  {
    why: 'an unknown role',
    fields: { messages: [{ role: 'robot', content: 'x' }] },
    status: 400,
    error: { param: 'messages[0].role' },
  },
  {
    why: 'an unknown reasoning effort',
    fields: { model: 'reasoning', reasoning_effort: 'huge' },
    status: 400,
    error: { param: 'reasoning_effort' },
  },
  { why: 'five stop words', fields: { stop: ['a', 'b', 'c', 'd', 'e'] }, status: 400, error: { param: 'stop' } },
  {
    why: 'a model this key may not use',
    ask: () => ({ key: 'narrow' }),
    fields: { model: 'reasoning' },
    status: 403,
    error: { code: 'model_not_allowed' },
  },
];

describe('a completion is refused with', () => {
  test.each(rows)('$status for $why', async ({ ask, fields, status, error }) => {
    const answer = await chat(simulator, fields, ask?.());
    expect(answer.status).toBe(status);
    const matchers = Object.entries(error).map(([field, value]) => [
      field,
      value instanceof RegExp ? expect.stringMatching(value) : value,
    ]);
    expect(answer.json.error).toMatchObject(Object.fromEntries(matchers));
  });

  test('400 for a body that is not JSON, or not an object', async () => {
    expect((await post(simulator, '/v1/chat/completions', { body: '{"model":' })).json.error.code).toBe('invalid_json');
    expect((await post(simulator, '/v1/chat/completions', { body: '[]' })).status).toBe(400);
  });

  test('413 for a body beyond all measure', async () => {
    const answer = await post(simulator, '/v1/chat/completions', { body: 'x'.repeat(17 * 1024 * 1024) });
    expect(answer.status).toBe(413);
  });

  test('402 as documented, by key', async () => {
    const { status, json } = await chat(simulator, {}, { key: 'poor' });
    expect(status).toBe(402);
    expect(json).toEqual({
      error: { message: 'Key budget exhausted', type: 'billing_error', code: 'budget_exceeded' },
    });
  });

  test('402 by organisation', async () => {
    const { status, json } = await chat(simulator, {}, { key: 'poor-org' });
    expect(status).toBe(402);
    expect(json).toEqual({
      error: { message: 'Organization budget exhausted', type: 'billing_error', code: 'org_budget_exceeded' },
    });
  });

  test('429 as documented, without any header that says when', async () => {
    await chat(simulator, {}, { key: 'full' });
    const { status, json, headers } = await chat(simulator, {}, { key: 'full' });
    expect(status).toBe(429);
    expect(json).toEqual({
      error: { message: 'Rate limit exceeded', type: 'rate_limit_error', code: 'rpm_exceeded' },
    });
    expect([...headers.keys()].filter((name) => /retry|rate/.test(name))).toEqual([]);
  });
});

test.each(['/chat/completions', '/v2/chat/completions', '/v1/embeddings'])('POST %s is a 404', async (path) => {
  const answer = await post(simulator, path, { body: { model: 'fast', messages: [question] } });
  expect(answer.status).toBe(404);
  expect(answer.json.error.message).toContain(path);
});

test('the right path with the wrong method is a 404', async () => {
  expect((await get(simulator, '/v1/chat/completions')).status).toBe(404);
});

test('every answer has a request id of its own', async () => {
  const answers = [await chat(simulator), await chat(simulator, { model: 'gpt-0' }), await get(simulator, '/nowhere')];
  const ids = answers.map(({ headers }) => headers.get('x-request-id'));
  expect(new Set(ids).size).toBe(3);
  expect(ids).not.toContain(null);
});

test('checks come in order: key, body, model, budget, window', async () => {
  expect((await chat(simulator, { model: 'gpt-0' }, { key: 'revoked' })).status).toBe(401);
  expect((await chat(simulator, { model: 'gpt-0' }, { key: 'poor' })).status).toBe(400);
  expect((await chat(simulator, { model: 'gpt-0' }, { key: 'full' })).status).toBe(400);
});

test('the words of the organisation’s 402 can be chosen', async () => {
  const orgCap = { code: 'monthly_cap', message: 'No more this month' };
  await using other = await createSimulator({
    scenario: { orgCap, keys: [{ name: 'a', org: 'o' }], orgs: { o: { budgetUsd: 0 } } },
  });
  expect((await chat(other)).json.error).toMatchObject(orgCap);
});

test('the truth counts every status, and refusals of dead keys under their name', async () => {
  await using other = await createSimulator({ scenario: { keys: [{ name: 'a' }, { name: 'dead', revoked: true }] } });
  await chat(other);
  await chat(other, { model: 'gpt-0' });
  await chat(other, {}, { key: 'dead' });
  await chat(other, {}, { key: null });
  const truth = other.truth();
  expect(truth.keys['a']).toMatchObject({ calls: 2, answered: 1, billed: 1, statuses: { 200: 1, 400: 1 } });
  expect(truth.keys['dead']).toMatchObject({ calls: 0, statuses: { 401: 1 } });
  expect(truth.totals).toMatchObject({ calls: 2, statuses: { 200: 1, 400: 1, 401: 1 } });
  expect(truth.unauthorized).toBe(2);
});
