import { expect, test } from 'vitest';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import { chat, chatOpenai, headersOf, question, type Answer } from './client.ts';

type FaultInput = NonNullable<ScenarioInput['faults']>[number];

const start = (fault: FaultInput, more: ScenarioInput = {}): Promise<Simulator> =>
  createSimulator({ scenario: { provider: 'openai', keys: [{ name: 'a' }], faults: [fault], ...more } });

const framesOf = ({ text }: Answer): string[] => text.split('\n\n').filter((frame) => frame !== '');
const truthOf = (simulator: Simulator) => simulator.truth().keys['a']!;
const ended = (simulator: Simulator): Promise<void> =>
  expect.poll(() => truthOf(simulator).inFlight, { timeout: 10_000 }).toBe(0);

/** A stream that is read bit by bit and may be left. */
async function open(simulator: Simulator, path = '/v1/chat/completions', model = 'gpt-5-mini') {
  const leaving = new AbortController();
  const response = await fetch(simulator.baseUrl + path, {
    method: 'POST',
    headers: headersOf(simulator),
    body: JSON.stringify({ model, stream: true, messages: [question] }),
    signal: leaving.signal,
  });
  return { response, reader: response.body!.getReader(), leave: () => leaving.abort() };
}

const error = { message: expect.any(String), type: 'server_error', code: 'simulated_fault' };
const dataOf = (frame: string): any => JSON.parse(frame.replace(/^data: /, '')); // oxlint-disable-line typescript/no-explicit-any -- frames of every shape

test.each([
  ['object', (frames: string[]) => expect(dataOf(frames.at(-1)!)).toMatchObject({ error })],
  [
    'event',
    (frames: string[]) => {
      const [name, data] = frames.at(-1)!.split('\n');
      expect(name).toBe('event: error');
      expect(dataOf(data!)).toMatchObject({ error });
    },
  ],
  [
    'choice',
    (frames: string[]) =>
      expect(dataOf(frames.at(-1)!)).toMatchObject({
        object: 'chat.completion.chunk',
        error,
        choices: [{ finish_reason: 'error' }],
      }),
  ],
  [
    'flat',
    (frames: string[]) => {
      expect(frames.at(-1)).toBe('data: [DONE]');
      expect(dataOf(frames.at(-2)!)).toMatchObject({ object: 'error', ...error });
    },
  ],
  [
    'text',
    (frames: string[]) => expect(frames.at(-1)).toBe('data: upstream connect error or disconnect/reset before headers'),
  ],
  ['bare', (frames: string[]) => expect(JSON.parse(frames.at(-1)!)).toMatchObject({ error })],
] as const)('an error comes in mid-stream as %s', async (shape, check) => {
  await using simulator = await start({ kind: 'stream_error', shape, afterChunks: 2 });
  const answer = await chatOpenai(simulator, { stream: true });
  expect(answer.status).toBe(200);
  const frames = framesOf(answer);
  expect(frames).toHaveLength(shape === 'flat' ? 4 : 3);
  expect(dataOf(frames[1]!).choices[0].delta.content).toContain('[simulated');
  check(frames);
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 0, statuses: { 200: 1 } });
});

test('an error in mid-stream can be the scenario’s own, and charged', async () => {
  const body = { error: { message: 'upstream died', code: 502 } };
  await using simulator = await start({ kind: 'stream_error', body, billed: true });
  expect(dataOf(framesOf(await chatOpenai(simulator, { stream: true })).at(-1)!)).toEqual(body);
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ billed: 1, billedUnanswered: { stream_error: 1 } });
});

test.each([0, 3, undefined])(
  'a stream ends without finish_reason and without [DONE] (after %s chunks)',
  async (afterChunks) => {
    await using simulator = await start({ kind: 'open_end', ...(afterChunks !== undefined && { afterChunks }) });
    const answer = await chatOpenai(simulator, { stream: true });
    expect(answer.status).toBe(200);
    expect(answer.text).not.toContain('[DONE]');
    const frames = framesOf(answer);
    if (afterChunks !== undefined) expect(frames).toHaveLength(afterChunks);
    for (const frame of frames) expect(dataOf(frame).choices[0].finish_reason).toBeNull();
    await ended(simulator);
    expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 1, billedUnanswered: { open_end: 1 } });
  },
);

test('a stream is cut between two chunks', async () => {
  await using simulator = await start({ kind: 'cut_body', afterChunks: 3 });
  const { reader } = await open(simulator);
  const decoder = new TextDecoder();
  let text = '';
  await expect(
    (async () => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        text += decoder.decode(value, { stream: true });
      }
    })(),
  ).rejects.toThrow(/terminated/);
  expect(text.split('\n\n')).toHaveLength(4);
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billedUnanswered: { cut_body: 1 } });
});

test('a stream falls silent for good, until the client leaves', async () => {
  await using simulator = await start({ kind: 'stall', afterChunks: 1 });
  const { reader, leave } = await open(simulator);
  expect(new TextDecoder().decode((await reader.read()).value)).toContain('"role":"assistant"');
  expect(truthOf(simulator).inFlight).toBe(1);
  leave();
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 0, billed: 1, billedUnanswered: { stall: 1 } });
});

test('a stream that falls silent for a while is whole in the end', async () => {
  await using simulator = await start({ kind: 'stall', stallMs: 30 });
  const answer = await chatOpenai(simulator, { stream: true });
  expect(answer.text.endsWith('data: [DONE]\n\n')).toBe(true);
  for (const frame of framesOf(answer).slice(0, -1)) expect(() => dataOf(frame)).not.toThrow();
  await ended(simulator);
  expect(truthOf(simulator)).toMatchObject({ answered: 1, billed: 1, billedUnanswered: {} });
});

test.each(['stream_error', 'open_end', 'stall'] as const)('%s strikes only what is streamed', async (kind) => {
  await using simulator = await start({ kind, times: 1 });
  expect((await chatOpenai(simulator)).json.choices[0].finish_reason).toBe('stop');
  expect(simulator.truth().faults).toEqual({});
});

test('PrivateMind’s streams fail in the same ways', async () => {
  await using simulator = await start({ kind: 'stream_error' }, { provider: 'privatemind' });
  const frames = framesOf(await chat(simulator, { stream: true }));
  expect(dataOf(frames.at(-1)!)).toMatchObject({ error: { code: 'simulated_fault' } });
});

test('a proxy that buffers delivers the whole stream at once, at the end', async () => {
  await using simulator = await createSimulator({
    scenario: { provider: 'openai', buffered: true, latencyMs: 50, keys: [{ name: 'a' }] },
  });
  const { response, reader } = await open(simulator);
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const size = Number(response.headers.get('content-length'));
  expect(size).toBeGreaterThan(0);
  // Booked before its first byte went out.
  expect(truthOf(simulator).billed).toBe(1);
  const decoder = new TextDecoder();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  expect(Buffer.byteLength(text)).toBe(size);
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
});
