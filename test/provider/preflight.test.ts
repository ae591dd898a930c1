import { describe, expect, test } from 'vitest';
import { preflight, type Abilities } from '../../src/provider/preflight.ts';

const model: Abilities = {
  id: 'm',
  contextLength: 1000,
  supportedParameters: new Set(['max_tokens', 'temperature', 'stop', 'tools', 'reasoning_effort', 'response_format']),
  capabilities: new Set(['reasoning_effort']),
};
const messages = [{ role: 'user', content: 'Hi' }];
const check = (body: object, options = { dropUnsupported: false }, abilities = model) =>
  preflight('privatemind', abilities, { messages, ...body }, options);

describe('a request that the model takes passes unchanged', () => {
  test.each([
    ['plain', {}],
    ['with supported parameters', { max_tokens: 5, temperature: 0, stop: ['a', 'b', 'c', 'd'] }],
    ['with a parameter that is null', { seed: null }],
    ['streamed', { stream: true, stream_options: { include_usage: true } }],
    ['with an empty assistant turn', { messages: [...messages, { role: 'assistant', content: '' }, ...messages] }],
    ['with a system prompt first', { messages: [{ role: 'system', content: 'Be brief.' }, ...messages] }],
    [
      'as long as the context may just hold',
      { messages: [{ role: 'user', content: 'x'.repeat(15_000) }], max_tokens: 50 },
    ],
    [
      'with a picture longer than any context',
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'x' },
              { type: 'file', data: 'y'.repeat(99_999) },
            ],
          },
        ],
      },
    ],
  ])('%s', (_, body) => {
    expect(check(body)).toEqual({ body: { messages, ...body }, problems: [] });
  });

  test('and so does anything where the listing says nothing', () => {
    const unknown = { ...model, supportedParameters: null, capabilities: null, contextLength: null };
    expect(check({ seed: 1, tools: [], max_tokens: 1e9 }, undefined, unknown).problems).toEqual([]);
  });
});

describe('a request that would be refused has a problem', () => {
  test.each([
    ['an unsupported parameter', { seed: 1 }, 'unsupported_parameter', 'seed'],
    ['a renamed parameter', { max_completion_tokens: 5 }, 'unsupported_parameter', 'max_completion_tokens'],
    ['tools without the capability', { tools: [{}] }, 'missing_capability', 'tools'],
    [
      'a response format without the capability',
      { response_format: { type: 'json_object' } },
      'missing_capability',
      'response_format',
    ],
    [
      'a picture without the capability',
      { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
      'missing_capability',
      'messages[0].content',
    ],
    ['an unknown effort', { reasoning_effort: 'extreme' }, 'invalid_value', 'reasoning_effort'],
    ['five stops', { stop: ['a', 'b', 'c', 'd', 'e'] }, 'invalid_value', 'stop'],
    ['an unknown role', { messages: [{ role: 'bot', content: 'x' }] }, 'invalid_role', 'messages[0].role'],
    [
      'an empty message',
      { messages: [...messages, { role: 'user', content: ' ' }] },
      'empty_message',
      'messages[1].content',
    ],
    [
      'an assistant who begins',
      {
        messages: [
          { role: 'system', content: 's' },
          { role: 'assistant', content: 'x' },
        ],
      },
      'message_order',
      'messages',
    ],
    ['more max_tokens than context', { max_tokens: 1001 }, 'context_too_long', 'messages'],
    [
      'a prompt that cannot fit',
      { messages: [{ role: 'user', content: 'x'.repeat(16_100) }] },
      'context_too_long',
      'messages',
    ],
  ])('%s', (_, body, code, field) => {
    expect(check(body).problems).toEqual([{ code, field, message: expect.stringMatching(/.{10}/) }]);
  });
});

test('dropping removes just what the model does not take', () => {
  const { body, problems } = check({ seed: 1, tools: [{}], temperature: 0 }, { dropUnsupported: true });
  expect(body).toEqual({ messages, temperature: 0 });
  expect(problems).toEqual([]);
});

test('dropping mends nothing else', () => {
  expect(check({ reasoning_effort: 'extreme' }, { dropUnsupported: true }).problems).toHaveLength(1);
});
