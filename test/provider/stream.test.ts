import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createStreamAssembler } from '../../src/provider/stream.ts';

const event = (json: unknown) => `data: ${JSON.stringify(json)}\n\n`;
const delta = (fields: object, finish: string | null = null) =>
  event({
    id: 'c1',
    object: 'chat.completion.chunk',
    model: 'm',
    choices: [{ index: 0, delta: fields, finish_reason: finish }],
  });
const done = 'data: [DONE]\n\n';
const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };

function assemble(text: string, pieceChars = text.length || 1) {
  const assembler = createStreamAssembler();
  for (let from = 0; from < text.length; from += pieceChars) assembler.push(text.slice(from, from + pieceChars));
  return { end: assembler.end(), hasBegun: assembler.hasBegun() };
}

const bodyOf = (text: string) => {
  const { end } = assemble(text);
  return end.tag === 'cut' ? end : JSON.parse(end.body);
};

describe('a stream becomes one completion', () => {
  test('with the usage on the finish chunk, whose choices are not empty', () => {
    const finish = event({ id: 'c1', model: 'm', choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], usage });
    expect(bodyOf(delta({ role: 'assistant', content: 'Hel' }) + delta({ content: 'lo' }) + finish + done)).toEqual({
      id: 'c1',
      object: 'chat.completion',
      model: 'm',
      choices: [{ index: 0, message: { role: 'assistant', content: 'Hello' }, finish_reason: 'stop' }],
      usage,
    });
  });

  test('with the usage on one more chunk without choices', () => {
    const text = delta({ content: 'Hi' }) + delta({}, 'stop') + event({ id: 'c1', choices: [], usage }) + done;
    expect(bodyOf(text).usage).toEqual(usage);
  });

  test('with reasoning beside the content', () => {
    const { message } = bodyOf(delta({ reasoning: 'a' }) + delta({ reasoning: 'b' }) + delta({ content: 'c' }, 'stop'))
      .choices[0];
    expect(message).toEqual({ role: 'assistant', content: 'c', reasoning: 'ab' });
  });

  test('with tool calls whose arguments come in pieces', () => {
    const call = (fields: object) => delta({ tool_calls: [{ index: 0, ...fields }] });
    const text =
      call({ id: 't1', type: 'function', function: { name: 'add', arguments: '{"a"' } }) +
      call({ function: { arguments: ':1}' } }) +
      delta({}, 'tool_calls') +
      done;
    expect(bodyOf(text).choices[0].message.tool_calls).toEqual([
      { id: 't1', type: 'function', function: { name: 'add', arguments: '{"a":1}' } },
    ]);
  });

  test('with several choices, in order', () => {
    const choice = (index: number, content: string) =>
      event({ choices: [{ index, delta: { content }, finish_reason: 'stop' }] });
    const { choices } = bodyOf(choice(1, 'b') + choice(0, 'a') + done);
    expect(choices.map(({ message }: { message: { content: string } }) => message.content)).toEqual(['a', 'b']);
  });

  test('whatever the pieces it arrives in', () => {
    const text = delta({ content: 'Grüße, ' }) + ': comment\n\n' + delta({ content: '世界' }, 'stop') + done;
    const whole = assemble(text).end;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: text.length }), (size) => {
        expect(assemble(text, size).end).toEqual(whole);
      }),
    );
  });
});

describe('a stream that is not whole is cut', () => {
  test.each([
    ['nothing came', '', 'before any answer'],
    ['only [DONE] came', done, 'before any answer'],
    ['it stops in the middle', delta({ content: 'Hel' }), 'without [DONE]'],
    ['it stops within an event', delta({ content: 'Hel' }) + 'data: {"choices":[{"index":0,"del', 'without [DONE]'],
    ['an event is no JSON', delta({ content: 'H' }) + 'data: <html>\n\n' + done, '<html>'],
  ])('%s', (_, text, message) => {
    expect(assemble(text).end).toEqual({ tag: 'cut', message: expect.stringContaining(message) });
  });

  test('a finish reason without [DONE] is enough', () => {
    expect(assemble(delta({ content: 'Hi' }, 'stop')).end.tag).toBe('whole');
  });
});

test.each([
  ['as data', event({ error: { message: 'overloaded', code: 'x' } })],
  ['as an error event', 'event: error\ndata: {"message":"overloaded","code":"x"}\n\n'],
])('an error in mid-stream %s ends it as an error envelope', (_, text) => {
  const { end } = assemble(delta({ content: 'H' }) + text);
  expect(end).toEqual({ tag: 'error', body: JSON.stringify({ error: { message: 'overloaded', code: 'x' } }) });
});

test('it has begun with the first piece of an answer, not with the role', () => {
  expect(assemble(delta({ role: 'assistant', content: '' })).hasBegun).toBe(false);
  expect(assemble(delta({ content: 'H' })).hasBegun).toBe(true);
});
