/** What of a request's body counts for its size. */
import { expect, test } from 'vitest';
import { sizeOf } from '../../src/provider/request-size.ts';

const user = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const text = (words: string) => ({ type: 'text', text: words });
const picture = { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(600_000)}` } };

test('text is counted in characters and in bytes, wherever it stands', () => {
  expect(sizeOf(user('Zwölf'))).toMatchObject({ textChars: 5, textBytes: 6, messages: 1, hasMedia: false });
  const messages = [
    { role: 'system', content: 'abc' },
    { role: 'user', content: [text('de'), text('f')] },
  ];
  expect(sizeOf({ messages })).toMatchObject({ textChars: 6, messages: 2, hasMedia: false });
});

test('a picture is no text, however long its address', () => {
  expect(sizeOf(user([text('abcdef'), picture]))).toMatchObject({ textChars: 6, textBytes: 6, hasMedia: true });
});

test('tools, calls of tools and the format of the answer are text of the prompt', () => {
  const tools = [{ type: 'function', function: { name: 'f'.repeat(300) } }];
  const format = { type: 'json_schema', json_schema: { name: 'n'.repeat(200) } };
  const calls = [{ id: 'call', function: { name: 'f', arguments: 'a'.repeat(100) } }];
  expect(sizeOf({ ...user(''), tools }).textChars).toBe(JSON.stringify(tools).length);
  expect(sizeOf({ ...user(''), response_format: format }).textChars).toBe(JSON.stringify(format).length);
  const messages = [{ role: 'assistant', content: null, tool_calls: calls }];
  expect(sizeOf({ messages }).textChars).toBe(JSON.stringify(calls).length);
});

test.each([
  [{}, null, 1],
  [{ max_tokens: 70, n: null }, 70, 1],
  [{ max_tokens: 70, max_completion_tokens: 90, n: 10 }, 90, 10],
  [{ max_tokens: null }, null, 1],
])('of %j each answer may be as long, and there are as many', (body, maxTokens, choices) => {
  expect(sizeOf({ ...user('a'), ...body })).toMatchObject({ maxTokens, choices });
});
