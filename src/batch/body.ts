/**
 * The checks on a chat.completions body that need no model: the shape of the messages, the types of the well-known
 * parameters, text that cannot be sent. Unknown parameters pass; whether a model accepts one is for the preflight.
 * Runs once per line and attempt, so it is plain code over parsed JSON that allocates only when something is wrong.
 */
import { quote, wrongValue, type Fault } from './problem.ts';

export type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

type Rule = { expected: string; accepts: (value: unknown) => boolean };

const string: Rule = { expected: 'a string', accepts: (value) => typeof value === 'string' };
const boolean: Rule = { expected: 'true or false', accepts: (value) => typeof value === 'boolean' };
// Not typeof: 1e999 is read as Infinity, which JSON cannot carry further.
const number: Rule = { expected: 'a number', accepts: (value) => Number.isFinite(value) };
// Safe: a larger integer would arrive at the provider as another number than the file says.
const integer: Rule = { expected: 'an integer', accepts: (value) => Number.isSafeInteger(value) };
const positiveInteger: Rule = {
  expected: 'a positive integer',
  accepts: (value) => Number.isSafeInteger(value) && (value as number) > 0,
};
const notNegative: Rule = {
  expected: 'a number of at least 0',
  accepts: (value) => Number.isFinite(value) && (value as number) >= 0,
};
const object: Rule = { expected: 'an object', accepts: isObject };
const objects: Rule = {
  expected: 'an array of objects',
  accepts: (value) => Array.isArray(value) && value.every(isObject),
};
const stringOrObject: Rule = {
  expected: 'a string or an object',
  accepts: (value) => typeof value === 'string' || isObject(value),
};
const stop: Rule = {
  expected: 'a string or an array of strings',
  accepts: (value) =>
    typeof value === 'string' || (Array.isArray(value) && value.every((item) => typeof item === 'string')),
};

/** The well-known parameters. Null counts as "not given" everywhere: SDKs write it so. */
const parameters = new Map<string, Rule>([
  ['max_tokens', positiveInteger],
  ['max_completion_tokens', positiveInteger],
  ['temperature', notNegative],
  ['top_p', notNegative],
  ['top_k', integer],
  ['min_p', notNegative],
  ['n', positiveInteger],
  ['stop', stop],
  ['seed', integer],
  ['frequency_penalty', number],
  ['presence_penalty', number],
  ['repetition_penalty', number],
  ['logit_bias', object],
  ['logprobs', boolean],
  ['top_logprobs', integer],
  ['response_format', object],
  ['reasoning_effort', string],
  ['reasoning', object],
  ['include_reasoning', boolean],
  ['tools', objects],
  ['tool_choice', stringOrObject],
  ['parallel_tool_calls', boolean],
  ['stream', boolean],
  ['stream_options', object],
  ['metadata', object],
  ['user', string],
]);

export const parameterNames: readonly string[] = [...parameters.keys()];

/** Checks every well-known parameter of `body`; `prefix` (`body.` or nothing) is where it stands in the line. */
export function checkParameters(body: JsonObject, prefix: string): Fault | null {
  for (const name in body) {
    const value = body[name];
    if (value === null) continue;
    const rule = parameters.get(name);
    if (rule && !rule.accepts(value)) {
      const isQuotedNumber = typeof value === 'string' && value.trim() !== '' && rule.accepts(Number(value));
      return wrongValue(prefix + name, rule.expected, value, isQuotedNumber ? 'remove the quotes' : '');
    }
    if (typeof value === 'object' && name !== 'messages' && isTooDeep(value, 0)) return tooDeep(prefix + name);
  }
  return null;
}

export function checkMessages(messages: unknown, field: string, cure = ''): Fault | null {
  if (!Array.isArray(messages) || messages.length === 0) {
    return wrongValue(field, 'a non-empty array of messages', messages, cure);
  }
  for (let index = 0; index < messages.length; index += 1) {
    const fault = checkMessage(messages[index], field, index);
    if (fault) return fault;
  }
  return null;
}

function checkMessage(message: unknown, field: string, index: number): Fault | null {
  if (!isObject(message)) {
    return wrongValue(`${field}[${index}]`, 'an object such as {"role": "user", "content": "…"}', message);
  }
  if (typeof message['role'] !== 'string' || message['role'] === '') {
    return wrongValue(`${field}[${index}].role`, 'a role such as "user"', message['role']);
  }
  const content = message['content'];
  if (Array.isArray(content)) {
    const bad = content.findIndex((part) => !isObject(part) || typeof part['type'] !== 'string');
    if (bad !== -1) {
      const expected = 'an object such as {"type": "text", "text": "…"}';
      return wrongValue(`${field}[${index}].content[${bad}]`, expected, content[bad]);
    }
  } else if (typeof content !== 'string') {
    // An assistant's turn that only calls tools says nothing.
    const silent = message['tool_calls'] ?? message['function_call'];
    if (!((content === null || content === undefined) && silent)) {
      const expected = 'a string or an array of parts (null only beside "tool_calls")';
      return wrongValue(`${field}[${index}].content`, expected, content);
    }
  }
  for (const name in message) {
    const value = message[name];
    if (typeof value === 'object' && value !== null && isTooDeep(value, 0)) {
      return tooDeep(`${field}[${index}].${name}`);
    }
  }
  return null;
}

/** Deeper than any schema a person writes, and far from the few thousand levels at which JSON.stringify overflows. */
const deepestNesting = 256;

function isTooDeep(value: object, depth: number): boolean {
  if (depth > deepestNesting) return true;
  for (const inner of Array.isArray(value) ? (value as unknown[]) : Object.values(value)) {
    if (typeof inner === 'object' && inner !== null && isTooDeep(inner, depth + 1)) return true;
  }
  return false;
}

function tooDeep(field: string): Fault {
  return { field, code: 'invalid_value', message: `expected at most ${deepestNesting} levels of nesting, got more` };
}

/** Finds text that is legal in JSON and breaks further on: half a surrogate pair, or NUL. Only for suspicious lines. */
export function findUnsendable(value: unknown, field: string, depth = 0): Fault | null {
  if (typeof value === 'string') return checkText(value, field);
  if (typeof value !== 'object' || value === null) return null;
  if (depth > deepestNesting) return tooDeep(field);
  for (const [name, inner] of Object.entries(value)) {
    if (checkText(name, field)) {
      return { field, code: 'invalid_encoding', message: `expected a field name of plain text, got ${quote(name)}` };
    }
    const place = Array.isArray(value) ? `${field}[${name}]` : field === '' ? name : `${field}.${name}`;
    const fault = findUnsendable(inner, place, depth + 1);
    if (fault) return fault;
  }
  return null;
}

function checkText(text: string, field: string): Fault | null {
  const nul = text.indexOf('\0');
  if (nul !== -1) {
    const message = `expected text, got the character NUL (\\u0000) at position ${nul}; remove it`;
    return { field, code: 'invalid_encoding', message };
  }
  if (text.isWellFormed()) return null;
  let half = 0;
  for (const character of text) {
    if (!character.isWellFormed()) break;
    half += character.length;
  }
  const message = `expected whole characters, got half a surrogate pair (\\ud800–\\udfff) at position ${half}; the text was cut inside a character`;
  return { field, code: 'invalid_encoding', message };
}
