import { describe, expect, it } from 'vitest';
import * as fc from 'fast-check';
import { notUtf8Mark } from '../../src/batch/decode.ts';
import { parseRequest } from '../../src/batch/request.ts';

const noDefault = { model: null };
const hello = [{ role: 'user', content: 'hello' }];

function batchLine(overrides: object = {}, body: object = {}): string {
  return JSON.stringify({
    custom_id: 'a',
    method: 'POST',
    url: '/v1/chat/completions',
    body: { model: 'fast', messages: hello, ...body },
    ...overrides,
  });
}

function parse(line: string | object, model: string | null = null) {
  return parseRequest(typeof line === 'string' ? line : JSON.stringify(line), 7, { model });
}

function problemOf(line: string | object) {
  const parsed = parse(line);
  if (parsed.ok) throw new Error('expected a problem');
  return parsed.problem;
}

describe('a good line', () => {
  it('of OpenAI’s batch form keeps its body as given, without the model', () => {
    const body = { messages: hello, max_tokens: 5, some_vendor_option: { a: [1] }, temperature: null };
    expect(parse(batchLine({ body: { model: 'fast', ...body } }))).toEqual({
      ok: true,
      request: { customId: 'a', model: 'fast', body },
    });
  });

  it('with a prompt becomes one user message, behind the system message where there is one', () => {
    expect(parse({ prompt: 'hi', system: 'be kind', model: 'm', max_tokens: 3 })).toEqual({
      ok: true,
      request: {
        customId: '7',
        model: 'm',
        body: {
          max_tokens: 3,
          messages: [
            { role: 'system', content: 'be kind' },
            { role: 'user', content: 'hi' },
          ],
        },
      },
    });
  });

  it.each<[string, object]>([
    ['messages in the short form', { messages: hello, model: 'm' }],
    ['a custom_id of its own', { prompt: 'x', model: 'm', custom_id: 'x'.repeat(512) }],
    ['every kind of parameter', { prompt: 'x', model: 'm', stop: ['a'], seed: 1, tools: [{}], tool_choice: 'auto' }],
    ['parts as content', { messages: [{ role: 'user', content: [{ type: 'text', text: 'x' }] }], model: 'm' }],
    [
      'null content beside tool calls',
      { messages: [...hello, { role: 'assistant', content: null, tool_calls: [{}] }], model: 'm' },
    ],
    ['absent content beside tool calls', { messages: [{ role: 'assistant', tool_calls: [{}] }], model: 'm' }],
    ['a character outside the basic plane', { prompt: 'moon 🌙', model: 'm' }],
    ['a replacement character of its own', { prompt: '\ufffd', model: 'm' }],
  ])('may have %s', (_, line) => {
    expect(parse(line)).toMatchObject({ ok: true });
  });

  it('takes the default model only where it names none', () => {
    expect(parse({ prompt: 'x' }, 'fast')).toMatchObject({ request: { model: 'fast' } });
    expect(parse({ prompt: 'x', model: 'other' }, 'fast')).toMatchObject({ request: { model: 'other' } });
    expect(parse(batchLine({}, { model: undefined }), 'fast')).toMatchObject({ request: { model: 'fast' } });
  });

  it('may write a pair of surrogates as escapes, and end in a carriage return', () => {
    expect(parse('{"prompt": "\\ud83c\\udf19", "model": "m"}\r')).toMatchObject({
      request: { body: { messages: [{ role: 'user', content: '🌙' }] } },
    });
  });

  it('keeps a field that is called __proto__ a field', () => {
    const parsed = parse(
      '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"x"}],"__proto__":{"a":1}}}',
    );
    expect(parsed.ok && Object.hasOwn(parsed.request.body, '__proto__')).toBe(true);
  });
});

describe('a bad line is named by field, code and cure', () => {
  it.each<[string | object, string | null, string, string]>([
    // The whole line
    ['hello', null, 'invalid_json_line', 'expected a JSON object, got "hello"'],
    ['"hello"', null, 'invalid_value', 'got the string "hello"'],
    ['null', null, 'invalid_value', 'got null'],
    ['[{"prompt":"x"}]', null, 'invalid_value', "jq -c '.[]'"],
    ['[', null, 'invalid_json_line', "jq -c '.[]'"],
    ['{', null, 'invalid_json_line', 'must stand on one line'],
    ['  "prompt": "x",', null, 'invalid_json_line', 'must stand on one line'],
    ["{'prompt': 'x'}", null, 'invalid_json_line', 'json.dumps'],
    ['{"prompt":"x"},', null, 'invalid_json_line', 'a comma after the object'],
    ['{"prompt":"x" "model":"m"}', null, 'invalid_json_line', 'column 15'],
    ['{"prompt":NaN}', null, 'invalid_json_line', "Unexpected token 'N'"],
    ['{"prompt":', null, 'invalid_json_line', 'ends too early'],
    ['{"prompt":"x\0"}', null, 'invalid_json_line', 'the byte NUL at column 13'],
    [`${notUtf8Mark}{"prompt":"caf\ufffd"}`, null, 'invalid_encoding', 'near column 15; convert the file: iconv'],
    [{}, 'prompt', 'missing_required_parameter', 'expected {"prompt"'],
    // Fields
    [{ promt: 'x' }, 'promt', 'unknown_parameter', 'unknown field "promt", did you mean "prompt"?'],
    [{ prompt: 'x', model: 'm', maxTokens: 5 }, 'maxTokens', 'unknown_parameter', 'did you mean "max_tokens"?'],
    [{ prompt: 'x', colour: 'blue' }, 'colour', 'unknown_parameter', 'known here: prompt, messages, custom_id'],
    [batchLine({ priority: 1 }), 'priority', 'unknown_parameter', 'known here: custom_id, method, url, body'],
    [batchLine({ metod: 1 }), 'metod', 'unknown_parameter', 'did you mean "method"?'],
    [batchLine({ temperature: 1 }), 'temperature', 'unknown_parameter', 'move it into "body"'],
    [batchLine({ method: 'GET' }), 'method', 'invalid_method', 'expected "POST", got the string "GET"'],
    [batchLine({ method: undefined }), 'method', 'invalid_method', 'write "method": "POST"'],
    [batchLine({ url: '/v1/embeddings' }), 'url', 'invalid_url', 'only chat completions'],
    [batchLine({ url: 'https://x.test/v1/chat/completions' }), 'url', 'invalid_url', 'the path alone'],
    [batchLine({ url: undefined }), 'url', 'invalid_url', 'got nothing; write "url"'],
    [batchLine({ body: [] }), 'body', 'invalid_value', 'expected an object with "messages", got an empty array'],
    [batchLine({ custom_id: undefined }), 'custom_id', 'missing_required_parameter', 'got nothing'],
    [batchLine({ custom_id: 17 }), 'custom_id', 'invalid_value', 'quote it: "custom_id": "17"'],
    [batchLine({ custom_id: '' }), 'custom_id', 'invalid_value', 'got an empty string'],
    [{ prompt: 'x', model: 'm', custom_id: 'x'.repeat(513) }, 'custom_id', 'invalid_value', 'got 513: "xxx'],
    [{ prompt: 'x' }, 'model', 'missing_model', '--model'],
    [{ prompt: 'x', model: ' ' }, 'model', 'invalid_value', 'expected a model, got the string " "'],
    [batchLine({}, { model: 4 }), 'body.model', 'invalid_value', 'got 4'],
    // Messages
    [{ prompt: '', model: 'm' }, 'prompt', 'invalid_value', 'expected a non-empty string'],
    [{ prompt: ['x'], model: 'm' }, 'prompt', 'invalid_value', 'got an array'],
    [{ prompt: 'x', messages: hello, model: 'm' }, 'prompt', 'invalid_value', 'got both'],
    [{ prompt: 'x', system: 1, model: 'm' }, 'system', 'invalid_value', 'expected a string, got 1'],
    [{ messages: [{ role: 'system', content: 'a' }], system: 'b', model: 'm' }, 'system', 'invalid_value', 'keep one'],
    [batchLine({}, { messages: [] }), 'body.messages', 'invalid_value', 'got an empty array'],
    [
      batchLine({}, { messages: undefined, prompt: 'x' }),
      'body.messages',
      'missing_required_parameter',
      'write the prompt',
    ],
    [batchLine({}, { messages: ['x'] }), 'body.messages[0]', 'invalid_value', 'got the string "x"'],
    [batchLine({}, { messages: [{ content: 'x' }] }), 'body.messages[0].role', 'missing_required_parameter', '"user"'],
    [
      batchLine({}, { messages: [...hello, { role: 'user', content: null }] }),
      'body.messages[1].content',
      'invalid_value',
      'null only beside "tool_calls"',
    ],
    [
      batchLine({}, { messages: [{ role: 'user', content: [{ text: 'x' }] }] }),
      'body.messages[0].content[0]',
      'invalid_value',
      '"type"',
    ],
    // Parameters
    [batchLine({}, { stream: 'yes' }), 'body.stream', 'invalid_value', 'expected true or false'],
    [batchLine({}, { max_tokens: 0 }), 'body.max_tokens', 'invalid_value', 'expected a positive integer, got 0'],
    [batchLine({}, { max_tokens: 1.5 }), 'body.max_tokens', 'invalid_value', 'got 1.5'],
    [batchLine({}, { max_tokens: '64' }), 'body.max_tokens', 'invalid_value', 'remove the quotes'],
    ['{"prompt":"x","model":"m","temperature":1e999}', 'temperature', 'invalid_value', 'got Infinity'],
    ['{"prompt":"x","model":"m","seed":12345678901234567890}', 'seed', 'invalid_value', 'expected an integer'],
    [batchLine({}, { tools: {} }), 'body.tools', 'invalid_value', 'an array of objects'],
    // What JSON may say and nobody can send
    ['{"prompt":"a\\ud800b","model":"m"}', 'prompt', 'invalid_encoding', 'half a surrogate pair'],
    ['{"prompt":"🌙\ud800b","model":"m"}', 'prompt', 'invalid_encoding', 'at position 2'],
    ['{"prompt":"a\\u0000","model":"m"}', 'prompt', 'invalid_encoding', 'NUL (\\u0000) at position 1; remove it'],
    [
      '{"prompt":"x","model":"m","metadata":{"\\udc00":1}}',
      'metadata',
      'invalid_encoding',
      'a field name of plain text',
    ],
  ])('%j', (line, field, code, message) => {
    const problem = problemOf(line);
    expect(problem).toMatchObject({ line: 7, field, code });
    expect(problem.message).toContain(message);
  });

  it('nested deeper than it could be written again is refused', () => {
    const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
    const cases = {
      metadata: `{"prompt":"x","model":"m","metadata":{"a":${deep}}}`,
      'messages[0].b': `{"messages":[{"role":"user","content":"x","b":${deep}}],"model":"m"}`,
      'messages[0].content': `{"messages":[{"role":"user","content":[{"type":"x","b":${deep}}]}],"model":"m"}`,
    };
    for (const [field, line] of Object.entries(cases)) {
      expect(problemOf(line)).toMatchObject({ field, code: 'invalid_value', message: expect.stringContaining('256') });
    }
  });

  it('keeps its custom_id, where that can be read', () => {
    expect(problemOf(batchLine({ method: 'GET' })).customId).toBe('a');
    expect(problemOf(batchLine({ custom_id: 5 })).customId).toBeNull();
    expect(problemOf('{"custom_id":"a"').customId).toBeNull();
  });
});

describe('parseRequest', () => {
  it('never throws, and every request it lets through can be written as JSON and read again', () => {
    const anything = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.json({ stringUnit: 'binary' }),
      fc
        .record({ prompt: fc.jsonValue({ stringUnit: 'binary' }), metadata: fc.jsonValue(), model: fc.constant('m') })
        .map((line) => JSON.stringify(line)),
      fc
        .record({ role: fc.constant('user'), content: fc.jsonValue({ stringUnit: 'binary' }) })
        .map((message) => batchLine({}, { messages: [message] })),
    );
    fc.assert(
      fc.property(anything, (text) => {
        const parsed = parseRequest(text, 1, noDefault);
        if (!parsed.ok) {
          expect(parsed.problem.message).toMatch(/expected|unknown field/);
          return;
        }
        expect(JSON.parse(JSON.stringify(parsed.request.body))).toEqual(parsed.request.body);
      }),
      { numRuns: 500 },
    );
  });
});
