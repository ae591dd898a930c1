/**
 * One line of an input file → one completion request, or the problem with it. Two forms: OpenAI's batch line, strict
 * at its top level, and the short form (`prompt` or `messages` beside the parameters). Pure; never throws. It runs for
 * every line in validation and again in the workers, so the way of a good line is JSON.parse and a few comparisons.
 */
import { checkMessages, checkParameters, findUnsendable, isObject, parameterNames, type JsonObject } from './body.ts';
import { notUtf8Mark } from './decode.ts';
import { describeJsonError } from './json-error.ts';
import { describeValue, quote, unknownField, wrongValue, type Fault, type LineProblem } from './problem.ts';

export type { LineProblem } from './problem.ts';

export type CompletionRequest = {
  customId: string;
  /** As the line (or the default) has it: an id or an alias. */
  model: string;
  /** The chat.completions body as given, with messages, without model. */
  body: Record<string, unknown>;
};

export type RequestDefaults = { model: string | null };

export type ParsedLine = { ok: true; request: CompletionRequest } | { ok: false; problem: LineProblem };

const endpoint = '/v1/chat/completions';
const longestCustomId = 512;
/** Holds the fault of a row of which no request could be made (render.ts): the line ends with it. */
export const rowProblemField = 'nightshift_row_problem';
const batchFields = ['custom_id', 'method', 'url', 'body'];
const shortFields = ['prompt', 'messages', 'custom_id', 'model', 'system', ...parameterNames];
const shortFieldSet = new Set(shortFields);
const twoForms =
  'expected {"prompt": "…"}, {"messages": […]} or a batch line {"custom_id", "method", "url", "body": {"messages": […]}}';

/** `line` is the 1-based physical line, which is also the custom_id of a short line that has none. */
export function parseRequest(text: string, line: number, defaults: RequestDefaults): ParsedLine {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    const fault = text.includes(notUtf8Mark) ? describeEncoding(text) : describeJsonError(text, error);
    return problem(line, null, fault);
  }
  if (!isObject(json)) {
    const cure = Array.isArray(json) ? `; one object per line: jq -c '.[]' turns an array into lines` : '';
    const message = `expected a JSON object, got ${describeValue(json)}${cure}`;
    return problem(line, null, { field: null, code: 'invalid_value', message });
  }
  const request =
    'body' in json || 'method' in json || 'url' in json
      ? fromBatchLine(json, defaults)
      : fromShortLine(json, line, defaults);
  if ('message' in request) return problem(line, json, request);
  // Half characters and NUL can only come through an escape, or from a caller that cut its text.
  if (mayHideBadText(text)) {
    const fault = findUnsendable(json, '');
    if (fault) return problem(line, json, fault);
  }
  return { ok: true, request };
}

function fromBatchLine(json: JsonObject, defaults: RequestDefaults): CompletionRequest | Fault {
  for (const name in json) if (!batchFields.includes(name)) return strayBatchField(name);
  const customId = json['custom_id'];
  const fault = customId === undefined ? wrongValue('custom_id', 'a string', customId) : checkCustomId(customId);
  if (fault) return fault;
  if (json['method'] !== 'POST') {
    const message = `expected "POST", got ${describeValue(json['method'])}; write "method": "POST"`;
    return { field: 'method', code: 'invalid_method', message };
  }
  if (json['url'] !== endpoint) return wrongUrl(json['url']);
  const body = json['body'];
  if (!isObject(body)) return wrongValue('body', 'an object with "messages"', body);
  const { model: given, ...rest } = body;
  const model = given ?? defaults.model;
  if (typeof model !== 'string' || model.trim() === '') return wrongModel('body.model', model);
  const cure = 'prompt' in body ? 'write the prompt as [{"role": "user", "content": "…"}]' : '';
  const bad = checkMessages(body['messages'], 'body.messages', cure) ?? checkParameters(rest, 'body.');
  return bad ?? { customId: customId as string, model, body: rest };
}

function fromShortLine(json: JsonObject, line: number, defaults: RequestDefaults): CompletionRequest | Fault {
  const rowProblem = json[rowProblemField];
  if (isFault(rowProblem)) return rowProblem;
  for (const name in json) if (!shortFieldSet.has(name)) return unknownField(name, name, shortFields);
  const { prompt, system, model: givenModel, custom_id: givenId, ...body } = json;
  if (givenId !== undefined) {
    const fault = checkCustomId(givenId);
    if (fault) return fault;
  }
  if (prompt === undefined && body['messages'] === undefined) {
    return { field: 'prompt', code: 'missing_required_parameter', message: `${twoForms}, got neither` };
  }
  if (prompt !== undefined && body['messages'] !== undefined) {
    const message = 'expected "prompt" or "messages", got both; keep one';
    return { field: 'prompt', code: 'invalid_value', message };
  }
  const model = givenModel ?? defaults.model;
  if (typeof model !== 'string' || model.trim() === '') return wrongModel('model', model);
  const fault = checkContent(prompt, system, body) ?? checkParameters(body, '');
  if (fault) return fault;
  const turns = prompt === undefined ? (body['messages'] as unknown[]) : [{ role: 'user', content: prompt }];
  body['messages'] = typeof system === 'string' ? [{ role: 'system', content: system }, ...turns] : turns;
  return { customId: typeof givenId === 'string' ? givenId : String(line), model, body };
}

function isFault(value: unknown): value is Fault {
  return isObject(value) && typeof value['code'] === 'string' && typeof value['message'] === 'string';
}

function checkContent(prompt: unknown, system: unknown, body: JsonObject): Fault | null {
  if (system !== undefined && typeof system !== 'string') return wrongValue('system', 'a string', system);
  if (prompt !== undefined) {
    return typeof prompt === 'string' && prompt !== '' ? null : wrongValue('prompt', 'a non-empty string', prompt);
  }
  const fault = checkMessages(body['messages'], 'messages');
  if (fault) return fault;
  const [first] = body['messages'] as JsonObject[];
  if (system === undefined || first?.['role'] !== 'system') return null;
  const message = 'expected one system message, got "system" and a first message of that role; keep one';
  return { field: 'system', code: 'invalid_value', message };
}

function checkCustomId(customId: unknown): Fault | null {
  if (typeof customId === 'string' && customId !== '' && customId.length <= longestCustomId) return null;
  const expected = `a string of 1 to ${longestCustomId} characters`;
  if (typeof customId === 'number') {
    // Read as a double, a long number is no longer what the file says: then without an example.
    const example = Number.isSafeInteger(customId) ? `: "custom_id": "${customId}"` : '';
    return wrongValue('custom_id', expected, customId, `quote it${example}`);
  }
  if (typeof customId !== 'string' || customId === '') return wrongValue('custom_id', expected, customId);
  const message = `expected ${expected}, got ${customId.length}: ${quote(customId)}`;
  return { field: 'custom_id', code: 'invalid_value', message };
}

function wrongModel(field: string, model: unknown): Fault {
  const cure = 'name it in the line, or for all lines without one with --model';
  if (model !== null && model !== undefined) return wrongValue(field, 'a model', model, cure);
  return { field, code: 'missing_model', message: `expected a model, got nothing; ${cure}` };
}

function wrongUrl(url: unknown): Fault {
  let message = `expected ${quote(endpoint)}, got ${describeValue(url)}`;
  if (typeof url !== 'string') message += `; write "url": "${endpoint}"`;
  else if (url.includes('chat/completions')) message += '; write the path alone, as expected';
  else message += '; only chat completions can be run';
  return { field: 'url', code: 'invalid_url', message };
}

function strayBatchField(name: string): Fault {
  // A short line and a batch line in one: the parameters belong into the body.
  if (!shortFieldSet.has(name)) return unknownField(name, name, batchFields);
  const message = `unknown field "${name}" beside ${batchFields.join(', ')}; move it into "body"`;
  return { field: name, code: 'unknown_parameter', message };
}

function mayHideBadText(text: string): boolean {
  return (text.includes('\\u') && /\\u(?:0000|d[89a-f])/i.test(text)) || !text.isWellFormed();
}

function describeEncoding(text: string): Fault {
  const column = text.indexOf('\ufffd');
  const place = column === -1 ? '' : ` near column ${column - text.lastIndexOf(notUtf8Mark)}`;
  const message = `expected UTF-8, got other bytes${place}; convert the file: iconv -f WINDOWS-1252 -t UTF-8`;
  return { field: null, code: 'invalid_encoding', message };
}

function problem(line: number, json: JsonObject | null, fault: Fault): ParsedLine {
  const customId = json?.['custom_id'];
  const usable = typeof customId === 'string' && customId !== '' && customId.length <= longestCustomId;
  return { ok: false, problem: { line, ...fault, customId: usable ? customId.toWellFormed() : null } };
}
