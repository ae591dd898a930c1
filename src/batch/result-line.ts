/**
 * One line of the output or the error file, in OpenAI's batch format (providers.md §4). The provider's body goes in as
 * it came, byte for byte, except that line breaks between its tokens become spaces: a result is one line.
 */
import { errorOf, parseJson, type Answer } from '../provider/answer.ts';

type Response = { status: number; requestId: string | null; body: string };

/** A good answer. `body` must be JSON. */
export function outputLine(attemptId: string, customId: string, response: Response): string {
  return assemble(attemptId, customId, responseJson(response), 'null');
}

export type LineError = { code: string; message: string; line: number };

/** A failure: with the upstream's last answer where there was one. `redact` cleans that answer. */
export function errorLine(
  id: string,
  customId: string | null,
  error: LineError,
  answer: Answer | null,
  redact: (text: string) => string,
): string {
  const response =
    answer?.tag === 'http'
      ? responseJson({ status: answer.status, requestId: requestIdOf(answer), body: upstreamBody(redact(answer.body)) })
      : 'null';
  return assemble(id, customId, response, JSON.stringify(error));
}

/** Bodies of failures are kept for a person to read; what is longer tells no more. */
const longestErrorBodyChars = 8000;

function upstreamBody(body: string): string {
  if (body.length <= longestErrorBodyChars) {
    try {
      JSON.parse(body);
      return body;
    } catch {
      // Not JSON: kept as a string.
    }
  }
  // Well-formed: not every reader takes half of a character, even escaped.
  return JSON.stringify(body.slice(0, longestErrorBodyChars).toWellFormed());
}

function assemble(id: string, customId: string | null, response: string, error: string): string {
  return `{"id":"batch_req_${id}","custom_id":${JSON.stringify(customId)},"response":${response},"error":${error}}`;
}

function responseJson({ status, requestId, body }: Response): string {
  // Inside a JSON string a line break is always escaped, so a raw one is only white space.
  const oneLine = /[\r\n]/.test(body) ? body.replaceAll(/[\r\n]+/g, ' ') : body;
  return `{"status_code":${status},"request_id":${JSON.stringify(requestId)},"body":${oneLine}}`;
}

/** The provider's id of the call: from the headers and, where it is another one, from the error's body. */
export function requestIdOf(answer: Answer): string | null {
  if (answer.tag !== 'http') return null;
  const ofHeader = answer.headers['x-cm-request-id'] ?? answer.headers['x-request-id'] ?? '';
  const ofBody = answer.status === 200 ? '' : (errorOf(parseJson(answer.body))?.requestId ?? '');
  const ids = [ofHeader, ofBody].filter((id, index, all) => id !== '' && all.indexOf(id) === index);
  return ids.length > 0 ? ids.join(' ') : null;
}
