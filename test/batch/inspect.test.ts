import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openInput } from '../../src/batch/input.ts';
import { createInspect, type InspectRules, type Offer } from '../../src/batch/inspect.ts';
import { parseRequest } from '../../src/batch/request.ts';
import { validateInput } from '../../src/batch/validate.ts';
import { parseListing } from '../../src/provider/models.ts';

const rules: InspectRules = { aliases: {}, fallbacks: {}, dropUnsupported: false };
const offer = (name: string, ...data: object[]): Offer => {
  return { provider: { name, kind: 'privatemind' }, listing: parseListing({ data }) };
};
const plain = { id: 'plain', aliases: ['fast'], supported_parameters: ['max_tokens'], context_length: 1000 };
const able = { id: 'able', aliases: ['fast'], supported_parameters: ['max_tokens', 'seed'], context_length: 1000 };
const unsure: Offer = { provider: { name: 'away', kind: 'privatemind' }, listing: null };

function inspect(line: object, offers: Offer[] = [offer('p', plain)], more: Partial<InspectRules> = {}) {
  const text = JSON.stringify({ model: 'fast', ...line });
  const parsed = parseRequest(text, 7, { model: null });
  if (!parsed.ok) throw new Error(parsed.problem.message);
  return createInspect(offers, { ...rules, ...more })(parsed.request, 7, text);
}
const seeded = { prompt: 'Hi', seed: 1, custom_id: 'a' };

test('a line that the model does not take has a problem with its place and its id', () => {
  expect(inspect({ prompt: 'Hi' })).toBeNull();
  expect(inspect(seeded)).toEqual({
    line: 7,
    field: 'seed',
    code: 'unsupported_parameter',
    message: expect.stringContaining('plain does not take "seed"') as string,
    customId: 'a',
  });
  expect(inspect(seeded, undefined, { dropUnsupported: true })).toBeNull();
});

test('a line is good when the model of any key would take it, or may', () => {
  expect(inspect(seeded, [offer('p', plain), offer('q', able)])).toBeNull();
  expect(inspect(seeded, [offer('p', plain), unsure])).toBeNull();
  expect(inspect({ prompt: 'Hi', model: 'new' }, [offer('p', plain), unsure])).toBeNull();
});

test('a model that nobody offers is named, with the nearest ones', () => {
  expect(inspect({ prompt: 'Hi', model: 'plane' })).toMatchObject({
    field: 'model',
    code: 'model_not_found',
    message: 'no key offers the model "plane"; the nearest names: plain, fast',
  });
  const configured = { aliases: { p: { mine: 'plain' } }, fallbacks: { gone: ['fast'] } };
  for (const model of ['mine', 'gone']) expect(inspect({ prompt: 'Hi', model }, undefined, configured)).toBeNull();
});

test('without any listing roles, order and empty messages are looked at, and nothing else', () => {
  for (const offers of [[], [unsure]]) {
    expect(inspect({ ...seeded, max_tokens: 1e9 }, offers)).toBeNull();
    expect(inspect({ prompt: ' ' }, offers)?.code).toBe('empty_message');
    expect(inspect({ messages: [{ role: 'bot', content: 'x' }] }, offers)?.code).toBe('invalid_role');
    expect(inspect({ messages: [{ role: 'assistant', content: 'x' }] }, offers)?.code).toBe('message_order');
  }
  expect(inspect({ prompt: 'Hi', reasoning_effort: 'extreme' }, [])).toBeNull();
  expect(inspect({ prompt: 'Hi', reasoning_effort: 'extreme' }, [unsure])?.code).toBe('invalid_value');
});

test.each<[string, object, string]>([
  ['a prompt', { prompt: ' ' }, 'prompt'],
  ['a prompt behind a system prompt', { prompt: ' ', system: 's' }, 'prompt'],
  ['an empty system prompt', { prompt: 'x', system: ' ' }, 'system'],
  ['messages', { messages: [{ role: 'bot', content: 'x' }] }, 'messages[0].role'],
  ['messages behind a system prompt', { messages: [{ role: 'bot', content: 'x' }], system: 's' }, 'messages[0].role'],
  ['messages as a whole', { messages: [{ role: 'assistant', content: 'x' }], system: 's' }, 'messages'],
  ['a prompt that is too long', { prompt: 'x'.repeat(20_000) }, 'prompt'],
])('the field is called as it stands in the line: %s', (_, line, field) => {
  expect(inspect(line)?.field).toBe(field);
});

test('in a batch line the field is in its body', () => {
  const body = { model: 'fast', seed: 1, messages: [{ role: 'user', content: 'Hi' }] };
  const text = JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body });
  const parsed = parseRequest(text, 1, { model: null });
  const check = createInspect([offer('p', plain)], rules);
  expect(parsed.ok && check(parsed.request, 1, text)?.field).toBe('body.seed');
});

test('validation counts such lines as bad ones, and none of them twice', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'nightshift-inspect-'));
  onTestFinished(() => rm(directory, { recursive: true }));
  const lines = [
    seeded,
    { prompt: 'Hi', custom_id: 'a' },
    { prompt: 'Hi', custom_id: 'a' },
    { ...seeded, model: 'x' },
    { prompt: 1 },
  ];
  await writeFile(path.join(directory, 'in.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const input = await openInput(path.join(directory, 'in.jsonl'), { spoolDir: directory });
  const validation = await validateInput(input, {
    spoolDir: directory,
    defaults: { model: 'fast' },
    inspect: createInspect([offer('p', plain)], rules),
  });
  expect(validation).toMatchObject({ total: 5, valid: 1, invalid: 4 });
  expect(Object.fromEntries(validation.problemCounts)).toEqual({
    unsupported_parameter: 1,
    model_not_found: 1,
    invalid_value: 1,
    duplicate_custom_id: 1,
  });
  expect([1, 2, 3, 4].filter((line) => validation.isDuplicate(line))).toEqual([3]);
});
