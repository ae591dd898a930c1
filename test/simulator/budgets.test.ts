import { expect, test } from 'vitest';
import { createSimulator } from '../../src/simulator/server.ts';
import { chat } from './client.ts';

/** 5 prompt tokens and 10 completion tokens at these prices make 15,000 billionths: 0.000015 USD. */
const models = [{ id: 'm', aliases: ['fast'], cost: { input_per_m_token: 1, output_per_m_token: 1 } }];
const costNanoUsd = 15_000;
const common = { models, outputTokens: 10 };

test('a key is cut off once its budget is spent, not before, and only this key', async () => {
  await using simulator = await createSimulator({
    scenario: { ...common, keys: [{ name: 'poor', budgetUsd: 0.00003 }, { name: 'rich' }] },
  });
  const statuses = [];
  for (let call = 0; call < 4; call += 1) statuses.push((await chat(simulator, {}, { key: 'poor' })).status);
  expect(statuses).toEqual([200, 200, 402, 402]);
  expect((await chat(simulator, {}, { key: 'rich' })).status).toBe(200);
  expect(simulator.truth().keys['poor']).toMatchObject({ costNanoUsd: 2 * costNanoUsd, callsAfter402: 1 });
});

test('calls in flight overshoot a budget, because spend is booked when they end', async () => {
  await using simulator = await createSimulator({
    scenario: { ...common, latencyMs: 500, keys: [{ name: 'poor', budgetUsd: 0.000001 }] },
  });
  const answers = await Promise.all(Array.from({ length: 5 }, () => chat(simulator)));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  expect((await chat(simulator)).status).toBe(402);
  const key = simulator.truth().keys['poor'];
  expect(key).toMatchObject({ costNanoUsd: 5 * costNanoUsd, maxInFlight: 5, inFlight: 0, callsAfter402: 0 });
});

test('an organisation’s cap stops all its keys, and the truth counts who asks again', async () => {
  await using simulator = await createSimulator({
    scenario: {
      ...common,
      keys: [
        { name: 'a', org: 'acme' },
        { name: 'b', org: 'acme' },
        { name: 'c', org: 'other' },
      ],
      orgs: { acme: { budgetUsd: 0.00003 } },
    },
  });
  const ask = async (key: string): Promise<number> => (await chat(simulator, {}, { key })).status;
  expect([await ask('a'), await ask('b'), await ask('a'), await ask('b'), await ask('a'), await ask('c')]).toEqual([
    200, 200, 402, 402, 402, 200,
  ]);
  expect(simulator.truth().orgs).toEqual({
    acme: { billed: 2, costNanoUsd: 2 * costNanoUsd, callsAfterOrgCap: 2 },
    other: { billed: 1, costNanoUsd, callsAfterOrgCap: 0 },
  });
  expect(simulator.truth().keys['a']?.callsAfter402).toBe(0);

  simulator.control({ change: 'set_org_budget', org: 'acme', budgetUsd: 1 });
  expect(await ask('b')).toBe(200);
  expect(simulator.truth().orgs['acme']?.callsAfterOrgCap).toBe(0);
});

test('a raised key budget lets the key go on and starts its count anew', async () => {
  await using simulator = await createSimulator({ scenario: { ...common, keys: [{ name: 'a', budgetUsd: 0 }] } });
  expect([(await chat(simulator)).status, (await chat(simulator)).status]).toEqual([402, 402]);
  expect(simulator.truth().keys['a']?.callsAfter402).toBe(1);
  simulator.control({ change: 'set_key_budget', key: 'a', budgetUsd: null });
  expect((await chat(simulator)).status).toBe(200);
  expect(simulator.truth().keys['a']?.callsAfter402).toBe(0);
});

test('a 402 takes no place in the window', async () => {
  await using simulator = await createSimulator({
    scenario: { ...common, keys: [{ name: 'a', rpm: 1, budgetUsd: 0 }] },
    now: () => 5,
  });
  await chat(simulator);
  simulator.control({ change: 'set_key_budget', key: 'a', budgetUsd: 1 });
  expect([(await chat(simulator)).status, (await chat(simulator)).status]).toEqual([200, 429]);
});
