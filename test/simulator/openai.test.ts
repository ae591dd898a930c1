import { expect, test } from 'vitest';
import { createSimulator } from '../../src/simulator/server.ts';
import { chatOpenai, get } from './client.ts';

const provider = 'openai';

test('what PrivateMind refuses is taken here: its traps are its own', async () => {
  await using simulator = await createSimulator({ scenario: { provider } });
  const messages = [
    { role: 'assistant', content: 'Hello' },
    { role: 'user', content: '' },
  ];
  expect((await chatOpenai(simulator, { messages, user: 'u', metadata: { a: '1' } })).status).toBe(200);
  const { json } = await chatOpenai(simulator, { max_completion_tokens: 3 });
  expect(json.usage).toEqual({ prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 });
  expect(json.choices[0].finish_reason).toBe('length');
});

const metadata = (limitSource: string) => ({ code: 402, metadata: { limit_source: limitSource } });

test('OpenRouter’s budget of requests in flight passes when they end, and says to come back', async () => {
  const models = [{ id: 'm', cost: { input_per_m_token: 1, output_per_m_token: 1 } }];
  await using simulator = await createSimulator({
    scenario: {
      provider,
      flavour: 'openrouter',
      models,
      outputTokens: 10,
      keys: [{ name: 'a', inFlightBudgetUsd: 0.00002 }],
      faults: [{ kind: 'hang', times: 1 }],
    },
  });
  const leaving = new AbortController();
  const hanging = chatOpenai(simulator, { model: 'm' }, { signal: leaving.signal }).catch(() => 'left');
  await expect.poll(() => simulator.truth().keys['a']?.inFlight, { timeout: 10_000 }).toBe(1);
  const { status, json, headers } = await chatOpenai(simulator, { model: 'm' });
  expect(status).toBe(402);
  expect(json.error).toMatchObject(metadata('openrouter_in_flight_budget'));
  expect(headers.get('retry-after')).toBe('1');
  leaving.abort();
  expect(await hanging).toBe('left');
  await expect.poll(() => simulator.truth().keys['a']?.inFlight, { timeout: 10_000 }).toBe(0);
  expect((await chatOpenai(simulator, { model: 'm' })).status).toBe(200);
  // It is no cap that someone was told of.
  expect(simulator.truth().keys['a']?.callsAfter402).toBe(0);
});

test('rate headers tell limits, what remains, and durations until all is as before', async () => {
  let nowMs = 0;
  await using simulator = await createSimulator({
    now: () => nowMs,
    scenario: { provider, outputTokens: 10, keys: [{ name: 'a', rpm: 3, tpm: 40 }] },
  });
  const rates = (headers: Headers, what: string) =>
    ['limit', 'remaining', 'reset'].map((part) => headers.get(`x-ratelimit-${part}-${what}`));
  await chatOpenai(simulator);
  nowMs = 12_500;
  const second = await chatOpenai(simulator);
  expect(rates(second.headers, 'requests')).toEqual(['3', '1', '1m0s']);
  expect(rates(second.headers, 'tokens')).toEqual(['40', '10', '1m0s']);
  nowMs = 13_000;
  const third = await chatOpenai(simulator);
  expect(third.status).toBe(429);
  expect(third.json.error).toMatchObject({ type: 'tokens', code: 'rate_limit_exceeded' });
  expect(third.headers.get('retry-after-ms')).toBe('47000');
  expect(third.headers.get('retry-after')).toBe('47');
  expect(rates(third.headers, 'requests')).toEqual(['3', '1', '59.5s']);
  nowMs = 72_494.5;
  expect(rates((await chatOpenai(simulator)).headers, 'tokens')).toEqual(['40', '10', '1m0s']);
  nowMs = 72_495;
  const fifth = await chatOpenai(simulator);
  expect([fifth.status, fifth.headers.get('retry-after-ms'), fifth.headers.get('retry-after')]).toEqual([
    429,
    '5',
    '1',
  ]);
});

test('a key without limits tells none', async () => {
  await using simulator = await createSimulator({ scenario: { provider, keys: [{ name: 'a', rpm: null }] } });
  const { headers } = await chatOpenai(simulator);
  expect([...headers.keys()].filter((name) => name.startsWith('x-ratelimit'))).toEqual([]);
});

test('a token limit can count what is asked for', async () => {
  const keys = [{ name: 'a', rpm: null, tpm: 100 }];
  await using used = await createSimulator({ now: () => 5, scenario: { provider, keys, outputTokens: 10 } });
  await using requested = await createSimulator({
    now: () => 5,
    scenario: { provider, keys, outputTokens: 10, tpmCounts: 'requested' },
  });
  // 5 of the prompt, and 10 answered or 60 asked for.
  expect((await chatOpenai(used, { max_tokens: 60 })).headers.get('x-ratelimit-remaining-tokens')).toBe('85');
  expect((await chatOpenai(requested, { max_tokens: 60 })).headers.get('x-ratelimit-remaining-tokens')).toBe('35');
  expect((await chatOpenai(requested, { max_tokens: 60 })).status).toBe(429);
  expect((await chatOpenai(requested, { max_tokens: 20 })).status).toBe(200);
  expect(requested.truth().keys['a']).toMatchObject({ maxTokensInWindow: 90, outputTokens: 20 });
  // More than the limit itself: no waiting helps.
  const never = await chatOpenai(requested, { max_tokens: 200 });
  expect([never.status, never.headers.get('retry-after')]).toEqual([429, null]);
});

test('a key has a ceiling of calls at once', async () => {
  await using simulator = await createSimulator({
    scenario: { provider, keys: [{ name: 'a', maxConcurrent: 2 }], faults: [{ kind: 'hang', times: 2 }] },
  });
  const leaving = new AbortController();
  const hanging = [1, 2].map(() => chatOpenai(simulator, {}, { signal: leaving.signal }).catch(() => 'left'));
  await expect.poll(() => simulator.truth().keys['a']?.inFlight, { timeout: 10_000 }).toBe(2);
  const third = await chatOpenai(simulator);
  expect(third.status).toBe(429);
  expect(third.json.error).toMatchObject({
    code: 'concurrency_limit_exceeded',
    message: 'Too many concurrent requests',
  });
  simulator.control({ change: 'set_key_concurrency', key: 'a', maxConcurrent: 3 });
  expect((await chatOpenai(simulator)).status).toBe(200);
  leaving.abort();
  expect(await Promise.all(hanging)).toEqual(['left', 'left']);
  expect(simulator.truth().keys['a']).toMatchObject({ refusals: { concurrency: 1 }, rejected429: 0 });
});

test('limits that pass by themselves can be worded as a quota; the code says what they are', async () => {
  await using simulator = await createSimulator({
    now: () => 5,
    scenario: { provider, quotaWording: true, keys: [{ name: 'a', rpm: 1 }] },
  });
  await chatOpenai(simulator);
  const { json, headers } = await chatOpenai(simulator);
  expect(json.error).toMatchObject({ message: 'Insufficient quota', code: 'rate_limit_exceeded' });
  expect(headers.get('retry-after-ms')).toBe('60000');
});

test('the listing is plain, or has prices as strings of USD per token', async () => {
  await using plain = await createSimulator({ scenario: { provider } });
  await using priced = await createSimulator({ scenario: { provider, flavour: 'openrouter' } });
  expect((await get(plain, '/v1/models', { key: null })).status).toBe(401);
  const { json } = await get(plain, '/v1/models');
  const ids = json.data.map(({ id }: { id: string }) => id);
  expect(ids).toEqual(['gpt-5-mini', 'gpt-5', 'gpt-5-mini:batch', 'text-embedding-3-small']);
  expect(Object.keys(json.data[0])).toEqual(['id', 'object', 'created', 'owned_by']);
  const [first] = (await get(priced, '/v1/models')).json.data;
  expect(first).toMatchObject({ id: 'gpt-5-mini', pricing: { prompt: '0.00000025', completion: '0.000002' } });
});

test('OpenRouter’s errors are numbers, also inside a 200, and its streams begin with a comment', async () => {
  await using simulator = await createSimulator({
    scenario: { provider, flavour: 'openrouter', faults: [{ kind: 'error_200', times: 1 }] },
  });
  const failed = await chatOpenai(simulator);
  expect([failed.status, failed.json.error.code]).toEqual([200, 502]);
  expect((await chatOpenai(simulator, { model: 'gpt-0' })).json.error.code).toBe(404);
  expect((await chatOpenai(simulator, { stream: true })).text).toMatch(/^: OPENROUTER PROCESSING\n\ndata: \{/);
});

test('a stream tells its usage only when asked, in one more chunk without choices', async () => {
  await using simulator = await createSimulator({ scenario: { provider, latencyMs: 20 } });
  const read = async (fields: object) => {
    const { text } = await chatOpenai(simulator, { stream: true, ...fields });
    const frames = text.split('\n\n').filter((frame) => frame !== '');
    expect(frames.pop()).toBe('data: [DONE]');
    return frames.map((frame) => JSON.parse(frame.slice('data: '.length)));
  };
  const silent = await read({});
  expect(silent.at(-1).choices[0].finish_reason).toBe('stop');
  expect(silent.some((chunk) => 'usage' in chunk)).toBe(false);
  const told = await read({ stream_options: { include_usage: true } });
  expect(told.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 5 } });
  expect(told.at(-2).choices[0].finish_reason).toBe('stop');
  expect(told.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
});
