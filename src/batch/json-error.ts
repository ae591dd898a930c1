/** Says why a line is not JSON, and for the usual causes (indented JSON, an array, Python's repr) how to mend it. */
import { messageOf } from '../errors.ts';
import { quote, type Fault } from './problem.ts';

export function describeJsonError(text: string, error: unknown): Fault {
  return { field: null, code: 'invalid_json_line', message: `expected a JSON object, got ${whatCame(text, error)}` };
}

function whatCame(text: string, error: unknown): string {
  const trimmed = text.trim();
  if (trimmed === '') return 'an empty line';
  const nul = text.indexOf('\0');
  if (nul !== -1) return `the byte NUL at column ${nul + 1}; the file is damaged, or not text`;
  if (trimmed === '[' || trimmed === ']' || trimmed.startsWith('[{')) {
    return `${quote(trimmed)}: the file is one JSON array; turn it into lines: jq -c '.[]'`;
  }
  if (/^[{}],?$/.test(trimmed) || /^"[^"]*"\s*:/.test(trimmed)) {
    return `${quote(trimmed)}: a request must stand on one line; put it there: jq -c .`;
  }
  if (/^\{\s*'/.test(trimmed)) return `single quotes: ${quote(trimmed)}; in Python write json.dumps(…), not str(…)`;
  if (trimmed.endsWith('},')) return `a comma after the object: ${quote(trimmed.slice(-20))}; remove it`;
  if (!trimmed.startsWith('{')) return quote(trimmed);
  return `broken JSON (${reason(error)}): ${quote(trimmed)}`;
}

/** The parser's own words, without the excerpt it may add. */
function reason(error: unknown): string {
  const message = messageOf(error);
  const position = /^(.*) in JSON at position (\d+)/s.exec(message);
  if (position) return `${position[1]}, column ${Number(position[2]) + 1}`;
  if (message.startsWith('Unexpected end')) return 'the line ends too early';
  const token = /^(Unexpected token .*?), (?:\.\.\.)?"/s.exec(message);
  return token?.[1] ?? message;
}
