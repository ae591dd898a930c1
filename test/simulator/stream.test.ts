import { expect, test } from 'vitest';
import { createSimulator } from '../../src/simulator/server.ts';
import { chat, headersOf, question, type Answer } from './client.ts';

type Chunk = {
  object: string;
  model: string;
  choices: { delta: { role?: string; content?: string; reasoning?: string }; finish_reason: string | null }[];
  usage?: { total_tokens: number; cost_usd?: number };
};

function chunksOf({ text }: Answer): Chunk[] {
  const frames = text.split('\n\n').filter((frame) => frame !== '');
  expect(frames.at(-1)).toBe('data: [DONE]');
  return frames.slice(0, -1).map((frame) => JSON.parse(frame.replace(/^data: /, '')) as Chunk);
}

test.each([0, 30])('a stream of latency %i ms says the same as a whole answer', async (latencyMs) => {
  await using simulator = await createSimulator({ scenario: { latencyMs } });
  const whole = await chat(simulator);
  const streamed = await chat(simulator, { stream: true });
  expect(streamed.headers.get('content-type')).toBe('text/event-stream');
  const chunks = chunksOf(streamed);
  const text = chunks.map(({ choices }) => choices[0]!.delta.content ?? '').join('');
  expect(text).toBe(whole.json.choices[0].message.content);
  expect(chunks.every(({ object }) => object === 'chat.completion.chunk')).toBe(true);
  expect(chunks[0]!.choices[0]!.delta.role).toBe('assistant');
  // Usage rides on the finish chunk, whose choices are not empty, and only there.
  const finish = chunks.at(-1)!;
  expect(finish.choices[0]!.finish_reason).toBe('stop');
  expect(finish.usage).toEqual(whole.json.usage);
  expect(chunks.filter(({ usage }) => usage)).toHaveLength(1);
  expect(simulator.truth().keys['sim-1']).toMatchObject({ answered: 2, billed: 2, statuses: { 200: 2 }, inFlight: 0 });
});

test('reasoning comes as delta.reasoning before the content', async () => {
  await using simulator = await createSimulator();
  const chunks = chunksOf(await chat(simulator, { model: 'reasoning', stream: true }));
  const kinds = chunks.map(({ choices: [choice] }) =>
    choice!.delta.reasoning ? 'r' : choice!.delta.content ? 'c' : '-',
  );
  expect(kinds.join('')).toMatch(/^-r+c+-$/);
});

test('no frame cuts a character in two', async () => {
  await using simulator = await createSimulator({ scenario: { outputTokens: 60 } });
  const messages = [{ role: 'user', content: '🌊'.repeat(100) }];
  const chunks = chunksOf(await chat(simulator, { stream: true, messages }));
  for (const { choices } of chunks) expect((choices[0]!.delta.content ?? '').isWellFormed()).toBe(true);
});

test('a client that leaves a stream is billed for the whole of it', async () => {
  await using simulator = await createSimulator({ scenario: { latencyMs: 300, keys: [{ name: 'a' }] } });
  const leaving = new AbortController();
  const response = await fetch(`${simulator.baseUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: headersOf(simulator),
    body: JSON.stringify({ model: 'fast', stream: true, messages: [question] }),
    signal: leaving.signal,
  });
  await response.body!.getReader().read();
  leaving.abort();
  await expect.poll(() => simulator.truth().keys['a']?.inFlight, { timeout: 10_000 }).toBe(0);
  expect(simulator.truth().keys['a']).toMatchObject({ answered: 0, billed: 1, billedUnanswered: { client_gone: 1 } });
});
