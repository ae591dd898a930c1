import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTemplate, placeholdersOf, renderTemplate } from '../../src/batch/template.ts';

const render = (template: string, values: Record<string, unknown>) =>
  renderTemplate(parseTemplate(template, '--template'), values);
const textOf = (template: string, values: Record<string, unknown>) => {
  const rendered = render(template, values);
  return rendered.ok ? rendered.text : rendered.fault;
};

describe('a template', () => {
  it.each<[string, Record<string, unknown>, string]>([
    ['Say {{a}}.', { a: 'x' }, 'Say x.'],
    ['{{a}}{{ a }}{{\ta\n}}', { a: 'x' }, 'xxx'],
    ['{{a b}} and {{ Größe }}', { 'a b': '1', Größe: '2' }, '1 and 2'],
    ['{{a}}', { a: '' }, ''],
    // Verbatim: neither expanded again nor taken for a pattern of String.replace.
    ['{{a}}', { a: '{{b}} $& $1', b: 'no' }, '{{b}} $& $1'],
    ['{{user.name}} {{tags.0}}', { user: { name: 'Ada' }, tags: ['x'] }, 'Ada x'],
    ['{{user.name}}', { 'user.name': 'flat', user: { name: 'deep' } }, 'flat'],
    ['{{n}} {{t}} {{o}} {{l}}', { n: 1.5, t: false, o: { k: ['v'] }, l: [1] }, '1.5 false {"k":["v"]} [1]'],
    ['{"a": {"b": "{{a}}"}}', { a: 'x' }, '{"a": {"b": "x"}}'],
    ['{{ {{ }}a{{ }} }} {{ { }}{{a}}}', { a: 'x' }, '{{a}} {x}'],
    ['a }} b { c', {}, 'a }} b { c'],
  ])('%j with %j is %j', (template, values, expected) => {
    expect(textOf(template, values)).toBe(expected);
  });

  it.each([
    ['x {{', 'line 1, column 3: expected {{name}}, got {{ without its }}'],
    ['a\nb {{ text }', 'line 2, column 3: expected {{name}}, got {{ without its }}'],
    ['{{}}', 'line 1, column 1: expected the name of a column between {{ and }}, got "{{}}"'],
    ['{{ {a} }}', 'expected the name of a column'],
    ['{{{text}}}', 'got three braces or more: "{{{text}}}"; write two, and braces that are to stand in the prompt'],
  ])('%j is refused with place and cure', (template, message) => {
    expect(() => parseTemplate(template, '--template')).toThrow(message);
  });

  it('names what a row lacks, where the template asks for it, and the nearest field', () => {
    expect(textOf('a\n {{txet}}', { id: 1, text: 'x' })).toEqual({
      field: 'txet',
      code: 'missing_value',
      message:
        'expected a value for {{txet}} (--template, line 2, column 2), got none; did you mean "text"? the fields here: id, text',
    });
    expect(textOf('{{a}}', { a: null })).toMatchObject({ message: expect.stringContaining('got null') as string });
    expect(textOf('{{a.b}}', { a: 'x' })).toMatchObject({ code: 'missing_value' });
  });

  it('sees only what is a value of the row', () => {
    for (const name of ['constructor', '__proto__', 'a.length', 'list.length', 'list.9', 'toString.name']) {
      expect(textOf(`{{${name}}}`, { a: 'x', list: [1] })).toMatchObject({ code: 'missing_value' });
    }
    const values = JSON.parse('{"__proto__": "mine"}') as Record<string, unknown>;
    expect(textOf('{{__proto__}}', values)).toBe('mine');
  });

  it('of any text around any value is that text around that value', () => {
    const plain = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('{', ''));
    fc.assert(
      fc.property(plain, fc.string({ unit: 'binary' }), plain, (before, value, after) => {
        expect(textOf(`${before}{{x}}${after}`, { x: value })).toBe(before + value + after);
      }),
    );
  });

  it('tells its columns, each with its place', () => {
    expect(placeholdersOf(parseTemplate('{{a}} {{ {{ }} {{ b }}', 'prompt.txt'))).toEqual([
      { name: 'a', place: 'prompt.txt, line 1, column 1' },
      { name: 'b', place: 'prompt.txt, line 1, column 16' },
    ]);
  });
});
