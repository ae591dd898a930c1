import * as fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import type { Answer } from '../../src/provider/answer.ts';
import { errorLine, outputLine, requestIdOf } from '../../src/batch/result-line.ts';

const asItIs = (text: string) => text;
const http = (body: string, status = 500, headers: Record<string, string> = {}): Answer => ({
  tag: 'http',
  status,
  headers,
  body,
  durationMs: 1,
});
const error = { code: 'overloaded', message: 'try “later”\nor never', line: 7 };

/** Reads a line back, as whoever gets the file does. */
function read(line: string) {
  expect(line).not.toMatch(/[\r\n]/);
  return JSON.parse(line) as {
    id: string;
    custom_id: string | null;
    response: { status_code: number; request_id: string | null; body: unknown } | null;
    error: unknown;
  };
}

describe('a line of the output file', () => {
  const completion = {
    id: 'chatcmpl-1',
    choices: [{ message: { content: 'Zeile 1\nZeile 2 🌊 "quoted" \\' } }],
    big: 0.1,
  };

  it('has the form of OpenAI’s batch output', () => {
    const body = JSON.stringify(completion);
    expect(read(outputLine('b-7.1', 'request-7', { status: 200, requestId: 'req-1', body }))).toEqual({
      id: 'batch_req_b-7.1',
      custom_id: 'request-7',
      response: { status_code: 200, request_id: 'req-1', body: completion },
      error: null,
    });
  });

  it('holds the body as it came, byte for byte', () => {
    const body = '{"a":1.10,  "b":1e2,"c":"\\u00e4ä","c":12345678901234567890}';
    expect(outputLine('b-7.1', 'x', { status: 200, requestId: null, body })).toContain(`"body":${body}}`);
  });

  test.each([
    ['printed with line breaks', JSON.stringify(completion, null, 2)],
    ['with the line breaks of Windows', JSON.stringify(completion, null, 2).replaceAll('\n', '\r\n')],
    ['with tabs', JSON.stringify(completion, null, '\t')],
    ['with white space around it', `\n\n ${JSON.stringify(completion)}\n`],
  ])('is one line for a body %s', (_, body) => {
    expect(read(outputLine('b-7.1', 'x', { status: 200, requestId: null, body })).response?.body).toEqual(completion);
  });

  test.each(['"quotes"', 'line\nbreak', '\u2028', 'ä🌊', '\\', '\u0000', '\ud83c', ''])(
    'keeps the custom_id %j',
    (id) => {
      expect(read(outputLine('b-7.1', id, { status: 200, requestId: id, body: '{}' }))).toMatchObject({
        custom_id: id,
        response: { request_id: id },
      });
    },
  );

  it('can be read back whatever the body is', () => {
    fc.assert(
      fc.property(
        fc.json({ maxDepth: 3 }),
        fc.constantFrom(0, 2, '\t'),
        fc.string({ unit: 'binary' }),
        (json, indent, id) => {
          const value = JSON.parse(json) as unknown;
          const body = JSON.stringify(value, null, indent);
          const line = read(outputLine('b-7.1', id, { status: 200, requestId: null, body }));
          expect(JSON.stringify(line.response?.body)).toBe(JSON.stringify(value));
          expect(line.custom_id).toBe(id);
        },
      ),
    );
  });
});

describe('a line of the error file', () => {
  it('holds the last answer and the error', () => {
    const answer = http('{"error":{"message":"no"}}', 503, { 'x-request-id': 'req-9' });
    expect(read(errorLine('b-7.1', 'request-7', error, answer, asItIs))).toEqual({
      id: 'batch_req_b-7.1',
      custom_id: 'request-7',
      response: { status_code: 503, request_id: 'req-9', body: { error: { message: 'no' } } },
      error,
    });
  });

  it('has no response where none came', () => {
    const cut: Answer = { tag: 'failure', code: 'cut', message: 'broke off', durationMs: 1 };
    for (const answer of [null, cut]) {
      expect(read(errorLine('b-7', null, error, answer, asItIs))).toEqual({
        id: 'batch_req_b-7',
        custom_id: null,
        response: null,
        error,
      });
    }
  });

  test.each([
    ['HTML', '<html>\n<body>"502" \\ </body></html>'],
    ['nothing', ''],
    ['half a JSON', '{"choices":[{"mess'],
    ['control characters', '\u0000\u0001\u001b[31m\r\n\t\u2028'],
    ['two JSON values', '{}\n{}'],
    ['a byte order mark', '\ufeff{}'],
    ['half a character', 'x\ud83c'],
  ])('holds as a text what is no JSON: %s', (_, body) => {
    const { response } = read(errorLine('b-7.1', 'x', error, http(body), asItIs));
    expect(response?.body).toBe(body.toWellFormed());
  });

  it('holds a body that is JSON as JSON, line breaks and all', () => {
    const body = JSON.stringify({ error: { message: 'a\nb' } }, null, 2);
    expect(read(errorLine('b-7.1', 'x', error, http(body), asItIs)).response?.body).toEqual({
      error: { message: 'a\nb' },
    });
  });

  it('caps a long body, and not in the middle of a character', () => {
    for (const padding of ['', 'x']) {
      const body = padding + '🌊'.repeat(10_000);
      const kept = read(errorLine('b-7.1', 'x', error, http(body), asItIs)).response?.body as string;
      expect(kept.length).toBe(8000);
      expect(kept.isWellFormed()).toBe(true);
    }
    const json = JSON.stringify({ text: 'x'.repeat(10_000) });
    expect(typeof read(errorLine('b-7.1', 'x', error, http(json), asItIs)).response?.body).toBe('string');
  });

  it('never shows a secret of the answer, also where the cap would cut it', () => {
    const secret = `PMINDAAAA:${'0123456789abcdef'.repeat(4)}`;
    const redact = (text: string) => text.replaceAll(secret, '[key team-a]');
    const inJson = http(JSON.stringify({ error: { message: `bad key ${secret}` } }));
    expect(read(errorLine('b-7.1', 'x', error, inJson, redact)).response?.body).toEqual({
      error: { message: 'bad key [key team-a]' },
    });
    for (const before of [0, 7920, 7950, 7999]) {
      const line = errorLine('b-7.1', 'x', error, http('.'.repeat(before) + secret + '.'.repeat(200)), redact);
      expect(line).not.toContain('0123456789');
    }
  });

  it('can be read back whatever comes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), fc.string({ unit: 'binary' }), (body, message) => {
        const line = read(errorLine('b-7.1', body, { ...error, message }, http(body), asItIs));
        expect(line).toMatchObject({ custom_id: body, error: { ...error, message } });
      }),
    );
  });
});

test('the provider’s id of a call is in its header', () => {
  expect(requestIdOf(http('{}', 200, { 'x-request-id': 'req-1' }))).toBe('req-1');
  expect(requestIdOf(http('{}'))).toBeNull();
  expect(requestIdOf({ tag: 'failure', code: 'cut', message: '', durationMs: 1 })).toBeNull();
});
