import { expect, test } from 'vitest';
import { fingerprintOf } from '../../src/simulator/seeded.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { chat } from './client.ts';

test('an answer says that it is simulated, quotes the question and adds up', async () => {
  await using simulator = await createSimulator();
  const { status, json } = await chat(simulator);
  expect(status).toBe(200);
  expect(json).toMatchObject({ object: 'chat.completion', model: 'qwen3-30b-instruct' });
  expect(json.choices).toHaveLength(1);
  expect(json.choices[0]).toMatchObject({ index: 0, finish_reason: 'stop', message: { role: 'assistant' } });
  const { content } = json.choices[0].message;
  expect(content).toMatch(/^\[simulated [0-9a-f]{14}\] No model was asked/);
  expect(content).toContain('Name three');
  const { usage } = json;
  expect(usage.prompt_tokens).toBe(5);
  expect(usage.completion_tokens).toBe(content.length / 4);
  expect(usage.total_tokens).toBe(usage.prompt_tokens + usage.completion_tokens);
  // USD per million tokens × tokens = millionths; three more digits make billionths.
  const costNanoUsd = 5 * 150 + usage.completion_tokens * 600;
  expect(Math.round(usage.cost_usd * 1e9)).toBe(costNanoUsd);
  expect(simulator.truth().keys['sim-1']).toMatchObject({
    billed: 1,
    inputTokens: 5,
    outputTokens: usage.completion_tokens,
    costNanoUsd,
  });
  expect(simulator.truth().models).toEqual({ 'qwen3-30b-instruct': { calls: 1, billed: 1 } });
});

test('the same question gets the same answer, another seed another one', async () => {
  await using first = await createSimulator({ scenario: { seed: 3, outputTokens: { min: 1, max: 100_000 } } });
  await using again = await createSimulator({ scenario: { seed: 3, outputTokens: { min: 1, max: 100_000 } } });
  await using other = await createSimulator({ scenario: { seed: 4, outputTokens: { min: 1, max: 100_000 } } });
  await chat(again, { messages: [{ role: 'user', content: 'something else first' }] });
  const [a, b, c] = [await chat(first), await chat(again), await chat(other)];
  expect(b.json.choices).toEqual(a.json.choices);
  expect(b.json.usage).toEqual(a.json.usage);
  expect(c.json.usage).not.toEqual(a.json.usage);
  expect(first.keys).toEqual(again.keys);
  expect(first.keys.map((key) => key.token)).not.toEqual(other.keys.map((key) => key.token));
});

test('max_tokens is respected, and said', async () => {
  await using simulator = await createSimulator({ scenario: { outputTokens: 50 } });
  const cut = (await chat(simulator, { max_tokens: 7 })).json;
  expect(cut.usage.completion_tokens).toBe(7);
  expect(cut.choices[0].finish_reason).toBe('length');
  expect(cut.choices[0].message.content).toHaveLength(28);
  const whole = (await chat(simulator, { max_tokens: 50 })).json;
  expect(whole.usage.completion_tokens).toBe(50);
  expect(whole.choices[0].finish_reason).toBe('stop');
});

test('an answer ends where the context does', async () => {
  const models = [{ id: 'small', context_length: 30 }];
  await using simulator = await createSimulator({ scenario: { outputTokens: 1000, models } });
  const { json } = await chat(simulator, { model: 'small' });
  expect(json.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 25, total_tokens: 30 });
  expect(json.choices[0].finish_reason).toBe('length');
});

test('a reasoning model thinks aloud, within max_tokens, and can be told not to', async () => {
  await using simulator = await createSimulator({ scenario: { outputTokens: 40 } });
  const thought = (await chat(simulator, { model: 'reasoning', reasoning_effort: 'high' })).json;
  expect(thought.usage.completion_tokens_details.reasoning_tokens).toBe(80);
  expect(thought.usage.completion_tokens).toBe(120);
  expect(thought.choices[0].message.reasoning).toContain('[simulated reasoning]');
  const limited = (await chat(simulator, { model: 'reasoning', reasoning_effort: 'max', max_tokens: 30 })).json;
  expect(limited.usage.completion_tokens).toBe(30);
  const off = (await chat(simulator, { model: 'reasoning', reasoning_effort: 'off' })).json;
  expect(off.usage.completion_tokens_details).toBeUndefined();
  expect(off.choices[0].message.reasoning).toBeUndefined();
  const hidden = (await chat(simulator, { model: 'reasoning', include_reasoning: false })).json;
  expect(hidden.usage.completion_tokens_details.reasoning_tokens).toBe(40);
  expect(hidden.choices[0].message.reasoning).toBeUndefined();
});

test('a request for JSON gets JSON', async () => {
  await using simulator = await createSimulator();
  const { json } = await chat(simulator, { response_format: { type: 'json_object' } });
  expect(JSON.parse(json.choices[0].message.content)).toMatchObject({ simulated: true });
});

test('content in parts counts as its text; a picture passes on a model with eyes', async () => {
  await using simulator = await createSimulator();
  const parts = [
    { type: 'text', text: 'What is this?' },
    { type: 'image_url', image_url: { url: 'data:image/png;base64,AA==' } },
  ];
  const { status, json } = await chat(simulator, { model: 'vision', messages: [{ role: 'user', content: parts }] });
  expect(status).toBe(200);
  expect(json.usage.prompt_tokens).toBe(4);
});

test('a model without a price reports no cost, and cost can be left out altogether', async () => {
  await using simulator = await createSimulator({
    scenario: { models: [{ id: 'free' }, { id: 'dear', cost: { input_per_m_token: 1, output_per_m_token: 1 } }] },
  });
  await using silent = await createSimulator({ scenario: { reportCost: false } });
  expect((await chat(simulator, { model: 'free' })).json.usage).not.toHaveProperty('cost_usd');
  expect((await chat(simulator, { model: 'dear' })).json.usage).toHaveProperty('cost_usd');
  expect((await chat(silent)).json.usage).not.toHaveProperty('cost_usd');
  expect(silent.truth().totals.costNanoUsd).toBeGreaterThan(0);
});

test('billed calls are counted by prompt when asked for', async () => {
  await using simulator = await createSimulator({ scenario: { trackRequests: true } });
  const ask = (content: string): Promise<unknown> => chat(simulator, { messages: [{ role: 'user', content }] });
  await Promise.all([ask('once'), ask('twice'), ask('twice')]);
  expect(simulator.truth().byRequest).toEqual({ [fingerprintOf('once')]: 1, [fingerprintOf('twice')]: 2 });
  await using plain = await createSimulator();
  await chat(plain);
  expect(plain.truth().byRequest).toBeNull();
});

test('the default keys have well-formed tokens and the documented range of limits', async () => {
  await using simulator = await createSimulator();
  expect(simulator.keys.map(({ name, rpm }) => [name, rpm])).toEqual([
    ['sim-1', 600],
    ['sim-2', 600],
    ['sim-3', 300],
    ['sim-4', 60],
  ]);
  for (const { token } of simulator.keys) expect(token).toMatch(/^PMIND[A-Za-z0-9]{27}:[0-9a-f]{64}$/);
  expect(simulator.environment).toEqual({
    PMIND_BASE_URL: simulator.baseUrl,
    PMIND_KEYS: simulator.keys.map((key) => key.token).join(','),
  });
});
