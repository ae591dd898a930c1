import { expect, test } from 'vitest';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import { chat, type Answer } from './client.ts';

type FaultInput = NonNullable<ScenarioInput['faults']>[number];

const withFault = (...faults: FaultInput[]): Promise<Simulator> =>
  createSimulator({ scenario: { faults, keys: [{ name: 'a', rpm: 100 }, { name: 'b' }] } });

/** The reason why fetch failed, dug out of its causes. */
async function failureOf(answer: Promise<Answer>): Promise<string> {
  try {
    await answer;
  } catch (error) {
    const { cause } = error as { cause?: { code?: string } };
    return cause?.code ?? String(error);
  }
  throw new Error('expected the call to fail');
}

const truthOf = (simulator: Simulator) => simulator.truth().keys['a']!;
const ended = (simulator: Simulator): Promise<void> =>
  expect.poll(() => truthOf(simulator).inFlight, { timeout: 10_000 }).toBe(0);

test('a scripted status comes with the body and headers of the script', async () => {
  await using simulator = await withFault({
    kind: 'status',
    status: 503,
    body: { error: { code: 'overloaded' } },
    headers: { 'retry-after': '2' },
  });
  const { status, json, headers } = await chat(simulator);
  expect(status).toBe(503);
  expect(json).toEqual({ error: { code: 'overloaded' } });
  expect(headers.get('retry-after')).toBe('2');
  expect(simulator.truth().faults).toEqual({ status: 1 });
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 0, statuses: { 503: 1 }, maxInWindow: 1 });
});

test('a scripted 4xx takes no place in the window', async () => {
  await using simulator = await withFault({ kind: 'status', status: 429 });
  const { status, json } = await chat(simulator);
  expect(status).toBe(429);
  expect(json.error.code).toBe('simulated_fault');
  expect(truthOf(simulator)).toMatchObject({ calls: 1, rejected429: 0, statuses: { 429: 1 }, maxInWindow: 0 });
});

test('a hang takes the call and never answers', async () => {
  await using simulator = await withFault({ kind: 'hang' });
  const leaving = new AbortController();
  const answer = chat(simulator, {}, { signal: leaving.signal });
  await expect.poll(() => truthOf(simulator).inFlight, { timeout: 10_000 }).toBe(1);
  leaving.abort();
  await expect(answer).rejects.toThrow(/abort/);
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ calls: 1, answered: 0, billed: 0, statuses: {} });
});

test('a hang can be billed', async () => {
  await using simulator = await withFault({ kind: 'hang', billed: true });
  const leaving = new AbortController();
  const answer = chat(simulator, {}, { signal: leaving.signal });
  await expect.poll(() => truthOf(simulator).billed, { timeout: 10_000 }).toBe(1);
  leaving.abort();
  await expect(answer).rejects.toThrow(/abort/);
  await ended(simulator);
  expect(truthOf(simulator).billedUnanswered).toEqual({ hang: 1 });
});

test('a reset breaks the connection', async () => {
  await using simulator = await withFault({ kind: 'reset' });
  expect(await failureOf(chat(simulator))).toMatch(/ECONNRESET|UND_ERR_SOCKET/);
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 0, statuses: {} });
});

test.each([false, true])('a cut body breaks off half-way and is billed (stream: %s)', async (stream) => {
  await using simulator = await withFault({ kind: 'cut_body' });
  expect(await failureOf(chat(simulator, { stream }))).toBe('UND_ERR_SOCKET');
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 1, billedUnanswered: { cut_body: 1 } });
  expect(truthOf(simulator).costNanoUsd).toBeGreaterThan(0);
});

test('a proxy’s 502 is HTML', async () => {
  await using simulator = await withFault({ kind: 'html_502' });
  const { status, text, headers } = await chat(simulator);
  expect(status).toBe(502);
  expect(headers.get('content-type')).toBe('text/html');
  expect(text).toContain('<h1>502 Bad Gateway</h1>');
});

test('garbage is a 200 that is not JSON', async () => {
  await using simulator = await withFault({ kind: 'garbage' });
  const { status, text, json, headers } = await chat(simulator);
  expect(status).toBe(200);
  expect(headers.get('content-type')).toBe('application/json');
  expect(text.length).toBeGreaterThan(10);
  expect(json).toBeUndefined();
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 1, billedUnanswered: { garbage: 1 } });
});

test('an empty 200 has no body', async () => {
  await using simulator = await withFault({ kind: 'empty_200' });
  const { status, text } = await chat(simulator);
  expect([status, text]).toEqual([200, '']);
  expect(truthOf(simulator).billedUnanswered).toEqual({ empty_200: 1 });
});

test('an error can come with 200, and in mid-stream', async () => {
  await using simulator = await withFault({
    kind: 'error_200',
    body: { error: { message: 'upstream died', code: 502 } },
  });
  const whole = await chat(simulator);
  expect(whole.status).toBe(200);
  expect(whole.json).toEqual({ error: { message: 'upstream died', code: 502 } });
  const streamed = await chat(simulator, { stream: true });
  const frames = streamed.text.split('\n\n').filter((frame) => frame !== '');
  expect(frames).toHaveLength(2);
  expect(frames[0]).toContain('chat.completion.chunk');
  expect(frames[1]).toBe('data: {"error":{"message":"upstream died","code":502}}');
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 0 });
});

test.each([false, true])('a slow drip arrives whole in the end (stream: %s)', async (stream) => {
  await using simulator = await withFault({ kind: 'slow_drip', intervalMs: 1, dripBytes: 50 });
  const { status, text, json } = await chat(simulator, { stream });
  expect(status).toBe(200);
  if (stream) expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  else expect(json.choices[0].message.content).toContain('[simulated');
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 1, billed: 1, billedUnanswered: {} });
});

test('a slow drip can be left by the client', async () => {
  await using simulator = await withFault({ kind: 'slow_drip', intervalMs: 5 });
  const leaving = new AbortController();
  const answer = chat(simulator, {}, { signal: leaving.signal });
  await expect.poll(() => truthOf(simulator).statuses['200'], { timeout: 10_000 }).toBe(1);
  leaving.abort();
  await expect(answer).rejects.toThrow(/abort/);
  await ended(simulator);
  expect(truthOf(simulator).billedUnanswered).toEqual({ slow_drip: 1 });
});

test('a client that goes before the answer is billed all the same', async () => {
  await using simulator = await createSimulator({ scenario: { latencyMs: 300, keys: [{ name: 'a' }] } });
  const leaving = new AbortController();
  const answer = chat(simulator, {}, { signal: leaving.signal });
  await expect.poll(() => truthOf(simulator).inFlight, { timeout: 10_000 }).toBe(1);
  leaving.abort();
  await expect(answer).rejects.toThrow(/abort/);
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 1, billedUnanswered: { client_gone: 1 } });
  expect(simulator.truth().totals.billedUnanswered).toBe(1);
});

test('a fault keeps to its calls, its number of times, its keys and its models', async () => {
  await using simulator = await withFault(
    { kind: 'status', status: 500, afterCalls: 1, untilCalls: 3 },
    { kind: 'status', status: 501, keys: ['b'], times: 1 },
    { kind: 'status', status: 504, models: ['pixtral-12b'] },
  );
  const asks = [
    ['a', 'fast'],
    ['a', 'fast'],
    ['a', 'fast'],
    ['a', 'fast'],
    ['b', 'fast'],
    ['b', 'fast'],
    ['a', 'vision'],
  ];
  const statuses = [];
  for (const [key, model] of asks) statuses.push((await chat(simulator, { model }, { key: key! })).status);
  expect(statuses).toEqual([200, 500, 500, 200, 501, 200, 504]);
});

test('a rate strikes about so often, and the same calls again for the same seed', async () => {
  const run = async (): Promise<number[]> => {
    await using simulator = await withFault({ kind: 'status', status: 500, rate: 0.3 });
    const statuses = [];
    for (let call = 0; call < 100; call += 1) statuses.push((await chat(simulator)).status);
    return statuses;
  };
  const first = await run();
  expect(await run()).toEqual(first);
  const struck = first.filter((status) => status === 500).length;
  expect(struck).toBeGreaterThan(15);
  expect(struck).toBeLessThan(45);
});

test('closing ends calls that hang', async () => {
  const simulator = await withFault({ kind: 'hang' });
  const failure = failureOf(chat(simulator));
  await expect.poll(() => truthOf(simulator).inFlight, { timeout: 10_000 }).toBe(1);
  await simulator.close();
  await simulator.close();
  expect(await failure).toMatch(/ECONNRESET|UND_ERR_SOCKET/);
});
