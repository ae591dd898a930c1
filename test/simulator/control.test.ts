import { expect, test } from 'vitest';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import { chat, get, post } from './client.ts';

const modelOf = async (simulator: Simulator, name: string): Promise<unknown> => {
  const { status, json } = await chat(simulator, { model: name });
  return status === 200 ? json.model : status;
};

test('an alias moves to another model in mid-run', async () => {
  await using simulator = await createSimulator();
  expect(await modelOf(simulator, 'fast')).toBe('qwen3-30b-instruct');
  simulator.control({ change: 'move_alias', alias: 'fast', to: 'deepseek-v4-pro' });
  expect(await modelOf(simulator, 'fast')).toBe('deepseek-v4-pro');
  expect(await modelOf(simulator, 'default')).toBe('qwen3-30b-instruct');
  const { data } = (await get(simulator, '/v1/models')).json;
  const aliases = Object.fromEntries(data.map((model: { id: string; aliases: string[] }) => [model.id, model.aliases]));
  expect(aliases).toMatchObject({ 'qwen3-30b-instruct': ['default'], 'deepseek-v4-pro': ['reasoning', 'fast'] });
});

test('a removed model is a 404 by id and by alias, until the alias points elsewhere', async () => {
  await using simulator = await createSimulator();
  simulator.control({ change: 'remove_model', model: 'qwen3-30b-instruct' });
  expect(await modelOf(simulator, 'qwen3-30b-instruct')).toBe(404);
  expect(await modelOf(simulator, 'fast')).toBe(404);
  simulator.control({ change: 'move_alias', alias: 'fast', to: 'pixtral-12b' });
  expect(await modelOf(simulator, 'fast')).toBe('pixtral-12b');
});

test('a model can be added, and replaced with another price and context', async () => {
  await using simulator = await createSimulator({ scenario: { outputTokens: 10 } });
  simulator.control({
    change: 'add_model',
    model: { id: 'new', aliases: ['fast'], cost: { input_per_m_token: 1, output_per_m_token: 1 } },
  });
  expect(await modelOf(simulator, 'fast')).toBe('new');
  simulator.control({ change: 'add_model', model: { id: 'new', context_length: 5, aliases: ['fast'] } });
  expect(await modelOf(simulator, 'fast')).toBe(400);
});

test('keys are revoked, expired, restored and restricted at once', async () => {
  await using simulator = await createSimulator();
  const ask = async (): Promise<unknown> => {
    const { status, json } = await chat(simulator);
    return status === 200 ? 200 : json.error.code;
  };
  simulator.control({ change: 'revoke_key', key: 'sim-1' });
  expect(await ask()).toBe('key_revoked');
  simulator.control([
    { change: 'restore_key', key: 'sim-1' },
    { change: 'expire_key', key: 'sim-1' },
  ]);
  expect(await ask()).toBe('key_expired');
  simulator.control({ change: 'expire_key', key: 'sim-1', at: '2999-01-01T00:00:00Z' });
  expect(await ask()).toBe(200);
  simulator.control({ change: 'restrict_key', key: 'sim-1', allowedModels: ['pixtral-12b'] });
  expect(await ask()).toBe('model_not_allowed');
  simulator.control({ change: 'restrict_key', key: 'sim-1', allowedModels: null });
  expect(await ask()).toBe(200);
});

test('limits, faults and latency change at once', async () => {
  await using simulator = await createSimulator({ now: () => 5 });
  expect((await chat(simulator)).status).toBe(200);
  simulator.control({ change: 'set_key_rpm', key: 'sim-1', rpm: 1 });
  expect((await chat(simulator)).status).toBe(429);
  simulator.control([
    { change: 'set_key_rpm', key: 'sim-1', rpm: null },
    { change: 'set_key_tpm', key: 'sim-1', tpm: 1 },
  ]);
  expect((await chat(simulator)).status).toBe(429);
  simulator.control([
    { change: 'set_key_tpm', key: 'sim-1', tpm: null },
    { change: 'set_faults', faults: [{ kind: 'html_502' }] },
  ]);
  expect((await chat(simulator)).status).toBe(502);
  simulator.control([
    { change: 'set_faults', faults: [] },
    { change: 'set_latency', latencyMs: { min: 1, max: 2 } },
  ]);
  expect((await chat(simulator)).status).toBe(200);
});

test('events happen after so many calls, or at a time, before the next request is looked at', async () => {
  let nowMs = 0;
  await using simulator = await createSimulator({
    now: () => nowMs,
    scenario: {
      events: [
        { afterCalls: 2, do: { change: 'revoke_key', key: 'sim-1' } },
        { atMs: 5000, do: { change: 'restore_key', key: 'sim-1' } },
        { atMs: 9000, do: { change: 'remove_model', model: 'pixtral-12b' } },
        { atMs: 9000, do: { change: 'remove_model', model: 'pixtral-12b' } },
      ],
    },
  });
  const statuses = [];
  for (const atMs of [0, 0, 0, 4999, 5000]) {
    nowMs = atMs;
    statuses.push((await chat(simulator)).status);
  }
  expect(statuses).toEqual([200, 200, 401, 401, 200]);
  nowMs = 9000;
  expect((await get(simulator, '/v1/models')).json.data).toHaveLength(3);
  // The second removal finds nothing to remove; the run goes on and the truth says so.
  expect(simulator.truth().events).toEqual({
    applied: 3,
    failed: [expect.stringContaining('remove_model: unknown model "pixtral-12b"')],
  });
});

test('another process reads the truth and controls the run over HTTP', async () => {
  await using simulator = await createSimulator();
  const control = (body: unknown) => post(simulator, '/__simulator/control', { key: null, body });
  expect((await control({ change: 'revoke_key', key: 'sim-1' })).json).toEqual({ applied: 1 });
  expect((await chat(simulator)).status).toBe(401);
  const two = [
    { change: 'restore_key', key: 'sim-1' },
    { change: 'set_latency', latencyMs: 0 },
  ];
  expect((await control(two)).json).toEqual({ applied: 2 });
  expect((await chat(simulator)).status).toBe(200);
  expect((await get(simulator, '/__simulator/truth', { key: null })).json).toEqual(simulator.truth());
});

test.each([
  ['{"change":', /not valid JSON/],
  ['', /not valid JSON/],
  [{ change: 'explode' }, /change: expected one of revoke_key, expire_key/],
  [{ change: 'revoke_key' }, /key: Invalid input: expected string/],
  [{ change: 'revoke_key', key: 'sim-1', now: true }, /unknown field "now"/],
  [{ change: 'set_latency', latencyMs: { p50: 5, p99: 1 } }, /latencyMs: expected milliseconds/],
  [{ change: 'revoke_key', key: 'nobody' }, /unknown key "nobody" \(known: sim-1, sim-2/],
  [{ change: 'set_faults', faults: [{ kind: 'hang', keys: ['nobody'] }] }, /unknown key "nobody"/],
  [{ change: 'set_org_budget', org: 'nowhere', budgetUsd: 1 }, /unknown organisation "nowhere" \(known: sim-org\)/],
  [{ change: 'move_alias', alias: 'fast', to: 'gone' }, /unknown model "gone"/],
  [
    [
      { change: 'restore_key', key: 'sim-1' },
      { change: 'set_key_rpm', key: 'sim-1', rpm: -1 },
    ],
    /\[1\]\.rpm: Too small/,
  ],
])('a bad control change %j is a 400 that says why', async (body, message) => {
  await using simulator = await createSimulator();
  const answer = await post(simulator, '/__simulator/control', { key: null, body });
  expect(answer.status).toBe(400);
  expect(answer.json.error.message).toMatch(message);
  expect((await chat(simulator)).status).toBe(200);
});

test('an unknown control path is a 404 that names the known ones', async () => {
  await using simulator = await createSimulator();
  const answer = await get(simulator, '/__simulator/everything');
  expect(answer.status).toBe(404);
  expect(answer.json.error.message).toContain('/__simulator/truth');
});

test.each([
  ['privatemind', { change: 'suspend_org', org: 'sim-org' }],
  ['privatemind', { change: 'set_faults', faults: [{ kind: 'refuse', reason: 'plan_quota' }] }],
  ['openai', { change: 'rotate_key', key: 'sim-1' }],
  ['openai', { change: 'move_alias', alias: 'fast', to: 'gpt-5' }],
  ['curate-me', { change: 'set_key_concurrency', key: 'sim-1', maxConcurrent: 1 }],
] as const)('%s refuses a change that it does not know: %j', async (provider, change) => {
  await using simulator = await createSimulator({ scenario: { provider } });
  const answer = await post(simulator, '/__simulator/control', { key: null, body: change });
  expect(answer.status).toBe(400);
  expect(answer.json.error.message).toContain(`the provider "${provider}" has no such thing`);
});

test('only a key with a session has a session’s budget', async () => {
  await using simulator = await createSimulator({ scenario: { provider: 'curate-me' } });
  expect(() => simulator.control({ change: 'set_session_budget', key: 'sim-1', budgetUsd: 1 })).toThrow(
    'key "sim-1" has no session: give it a "sessionBudgetUsd"',
  );
});
