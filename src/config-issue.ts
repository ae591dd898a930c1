/** What is wrong with a configuration, in words: the field, what was expected, what came. Pure. */
import type { z } from 'zod';

/** `json`: the whole file. `known`: the fields that an object at the issue's place may have. */
export function describeConfigIssue(issue: z.core.$ZodIssue, json: unknown, known: readonly string[]): string {
  const at = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  const place = at === '' ? 'the top level' : at.replace(/^\./, '');
  if (issue.code === 'unrecognized_keys') {
    const fields = issue.keys.map((key) => `"${key}"`).join(', ');
    return `${place}: unknown field ${fields}${known.length > 0 ? ` (known: ${known.join(', ')})` : ''}`;
  }
  const value = valueAt(json, issue.path);
  if (value === undefined && issue.path.length > 0) return `${place}: is missing`;
  // Ours begin with a small letter and say what was expected; what came they cannot know.
  const expected = issue.message.startsWith('expected ') ? issue.message : `expected ${expectedBy(issue)}`;
  return `${place}: ${expected}, got ${describeValue(value)}`;
}

const typeNames: Record<string, string> = {
  string: 'a text in quotes',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list [...]',
  object: 'an object {...}',
  record: 'an object {...}',
};

function expectedBy(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return typeNames[issue.expected] ?? issue.expected;
  if (issue.code === 'invalid_value') {
    return `one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
  }
  if (issue.code === 'too_big') return `a number ${issue.inclusive ? 'of at most' : 'below'} ${issue.maximum}`;
  if (issue.code === 'too_small') {
    if (issue.origin === 'string') return 'a text that is not empty';
    return `a number ${issue.inclusive ? 'of at least' : 'above'} ${issue.minimum}`;
  }
  return `another value (${issue.message})`;
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value = json;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** What is longer could be a secret in the wrong place, and is not shown. */
const longestShown = 24;

function describeValue(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > longestShown ? `a text of ${text.length - 2} characters` : text;
}
