import { expect, test } from 'vitest';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import { chatCurateMe, gatewayHeaders, get, type Answer } from './client.ts';

const models = [{ id: 'gpt-5-mini', cost: { input_per_m_token: 1, output_per_m_token: 1 } }];
const keys = [
  { name: 'a', org: 'acme' },
  { name: 'b', org: 'acme' },
  { name: 'stranger', org: 'other' },
];

const start = (approvals: ScenarioInput['approvals'] = {}, more: ScenarioInput = {}): Promise<Simulator> =>
  createSimulator({ scenario: { provider: 'curate-me', models, keys, outputTokens: 10, approvals, ...more } });

const say = (content: string): object => ({ messages: [{ role: 'user', content }] });
const held = say('Please. [simulate: hold]');

async function hold(simulator: Simulator, fields = held): Promise<string> {
  const { status, json, headers } = await chatCurateMe(simulator, fields);
  expect(status).toBe(202);
  expect(headers.get('x-cm-approval-id')).toBe(json.approval_id);
  expect(json).not.toHaveProperty('choices');
  return json.approval_id as string;
}

const poll = (simulator: Simulator, id: string, key = 'a'): Promise<Answer> =>
  get(simulator, `/v1/approvals/${id}/status`, { headers: gatewayHeaders(simulator, { key }) });

test('a held request is pending until a person decides, and costs nothing until then', async () => {
  await using simulator = await start();
  const id = await hold(simulator);
  expect((await poll(simulator, id)).json).toEqual({ approval_id: id, status: 'pending' });
  expect(simulator.truth().totals).toMatchObject({ billed: 0, costNanoUsd: 0, answered: 0, inFlight: 0 });

  simulator.control({ change: 'decide_approval', approval: id, decision: 'approved' });
  const first = await poll(simulator, id);
  expect(first.json).toMatchObject({ approval_id: id, status: 'approved', response: { object: 'chat.completion' } });
  expect(first.json.response.choices[0].message.content).toContain('[simulated');
  // However often it is asked for, it is one answer and one charge.
  expect((await poll(simulator, id, 'b')).json).toEqual(first.json);
  expect(simulator.truth().keys['a']).toMatchObject({ billed: 1, answered: 1, statuses: { 202: 1 }, maxInWindow: 1 });
  expect(simulator.truth().approvals).toEqual({
    held: 1,
    polls: 3,
    approved: 1,
    rejected: 0,
    collected: 1,
    sentAgain: 0,
  });
});

test('a rejected request has no answer and no cost', async () => {
  await using simulator = await start();
  const id = await hold(simulator);
  simulator.control({ change: 'decide_approval', decision: 'rejected' });
  expect((await poll(simulator, id)).json).toEqual({ approval_id: id, status: 'rejected' });
  // What is decided stays decided.
  simulator.control({ change: 'decide_approval', approval: id, decision: 'approved' });
  expect((await poll(simulator, id)).json.status).toBe('rejected');
  expect(simulator.truth().approvals).toMatchObject({ rejected: 1, approved: 0 });
  expect(simulator.truth().totals).toMatchObject({ billed: 0, costNanoUsd: 0 });
});

test('a decision can come with the n-th poll, and a marker decides against', async () => {
  await using simulator = await start({ decideAfterPolls: 3 });
  const approved = await hold(simulator);
  const rejected = await hold(simulator, say('Please. [simulate: hold and reject]'));
  const states = [];
  for (let at = 0; at < 3; at += 1) {
    states.push((await poll(simulator, approved)).json.status, (await poll(simulator, rejected)).json.status);
  }
  expect(states).toEqual(['pending', 'pending', 'pending', 'pending', 'approved', 'rejected']);
});

test('the names of the states and the place of the answer are the scenario’s', async () => {
  const states = { pending: 'waiting_for_review', approved: 'completed', rejected: 'expired' };
  await using simulator = await start({ states, responseField: 'result', decideAfterPolls: 2 });
  const id = await hold(simulator);
  expect((await poll(simulator, id)).json.status).toBe('waiting_for_review');
  expect((await poll(simulator, id)).json).toMatchObject({ status: 'completed', result: { choices: [{}] } });
  await using silent = await start({ responseField: null, decideAfterPolls: 1 });
  const other = await hold(silent);
  expect((await poll(silent, other)).json).toEqual({ approval_id: other, status: 'approved' });
});

test('the truth counts a held request that is sent again', async () => {
  await using simulator = await start();
  await hold(simulator);
  await chatCurateMe(simulator, say('Something else.'));
  expect(simulator.truth().approvals).toMatchObject({ held: 1, sentAgain: 0 });
  // Whoever sends it, and streamed or not.
  expect((await chatCurateMe(simulator, { ...held, stream: true }, { key: 'b' })).status).toBe(202);
  expect(simulator.truth().approvals).toMatchObject({ held: 2, sentAgain: 1 });
});

test('a rate holds its share, and the same prompt meets the same fate', async () => {
  await using simulator = await start({ rate: 0.3 }, { keys: [{ name: 'a', rpm: null }] });
  const ask = async (round: number): Promise<number> =>
    (await chatCurateMe(simulator, say(`Question ${round}`))).status;
  const first: number[] = [];
  const again: number[] = [];
  for (let round = 0; round < 100; round += 1) first.push(await ask(round));
  for (let round = 0; round < 100; round += 1) again.push(await ask(round));
  expect(again).toEqual(first);
  const heldCount = first.filter((status) => status === 202).length;
  expect(heldCount).toBeGreaterThan(15);
  expect(heldCount).toBeLessThan(45);
  expect(simulator.truth().approvals).toMatchObject({ held: 2 * heldCount, sentAgain: heldCount });
});

test('a held request takes its place in the window', async () => {
  await using simulator = await createSimulator({
    now: () => 5,
    scenario: { provider: 'curate-me', keys: [{ name: 'a', rpm: 1 }] },
  });
  await hold(simulator);
  expect((await chatCurateMe(simulator)).status).toBe(429);
});

test('an approval is shown to its own organisation, with a key in good standing', async () => {
  await using simulator = await start();
  const id = await hold(simulator);
  expect((await poll(simulator, id, 'stranger')).status).toBe(404);
  expect((await poll(simulator, 'apr_none')).status).toBe(404);
  expect((await get(simulator, `/v1/approvals/${id}/status`, { key: null })).status).toBe(401);
  simulator.control({ change: 'revoke_key', key: 'a' });
  expect((await poll(simulator, id)).json.error.code).toBe('api_key_revoked');
  expect((await poll(simulator, id, 'b')).status).toBe(200);
  expect(simulator.truth().approvals.polls).toBe(1);
});

test('only what exists can be decided', async () => {
  await using simulator = await start();
  const id = await hold(simulator);
  expect(() => simulator.control({ change: 'decide_approval', approval: 'apr_none', decision: 'approved' })).toThrow(
    `unknown approval "apr_none" (known: ${id})`,
  );
});
