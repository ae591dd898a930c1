/** What an answer means: it is read once, and the answer table says what follows. Pure: an answer in, an Outcome out. */
import type { ProviderKind } from '../config.ts';
import { answerTable, type Seen } from './answer-table.ts';
import { errorOf, parseJson, retryAfterMs, type Answer, type ErrorBody } from './answer.ts';
import { approvalIdOf } from './approval.ts';
import type { Outcome } from './outcome.ts';

const longestMessage = 1000;
const longestCode = 64;
/** Of a body that is no error object. It is cut after the redaction, which knows only whole secrets. */
const excerptChars = 200;
const readForExcerpt = 4000;

/**
 * `json` is the parsed body where the caller has it (undefined: no JSON). `redact` cleans the provider's words.
 * Source: providers.md §1 (status map), design §5.
 */
export function classify(
  kind: ProviderKind,
  answer: Answer,
  options: { nowMs: number; json?: unknown; redact?: (text: string) => string },
): Outcome {
  const redact = options.redact ?? ((text: string) => text);
  const clean = (text: string) => cut(redact(text), longestMessage);
  if (answer.tag === 'failure') {
    return { tag: 'retry', retryAfterMs: null, code: answer.code, message: clean(answer.message) };
  }
  const json = options.json ?? parseJson(answer.body);
  if (answer.status === 200 && hasChoices(json)) return { tag: 'complete' };
  const said = errorOf(json, options.nowMs);
  const error = said && { ...said, code: said.code.toLowerCase() };
  const seen: Seen = {
    kind,
    status: answer.status,
    error,
    retryAfterMs: said?.retryAtMs ? said.retryAtMs - options.nowMs : retryAfterMs(answer.headers, options.nowMs),
    nowMs: options.nowMs,
    approvalId: answer.status === 202 ? approvalIdOf(json, answer.headers) : null,
    cause: {
      // It names counters and is read by programs: a word, whatever the provider puts there.
      code: redact(codeOf(answer, said, json))
        .toLowerCase()
        .replaceAll(/[^a-z0-9_.:-]+/g, '_')
        .slice(0, longestCode),
      message: clean([error?.message || describeBody(answer, redact), ...(error?.faults ?? [])].join('; ')),
    },
  };
  const row = answerTable.find(({ fits }) => fits(seen));
  // The last row fits all.
  return (row as (typeof answerTable)[number]).outcome(seen);
}

function hasChoices(json: unknown): boolean {
  if (typeof json !== 'object' || json === null) return false;
  if ('error' in json && json.error) return false;
  if (!('choices' in json) || !Array.isArray(json.choices)) return false;
  return json.choices.some((choice) => typeof choice === 'object' && choice !== null);
}

function codeOf(answer: Answer & { tag: 'http' }, error: ErrorBody | null, json: unknown): string {
  if (error?.code) return error.code;
  if (error?.type) return error.type;
  if (answer.status !== 200) return `http_${answer.status}`;
  if (error) return 'error_in_200';
  return json === undefined && answer.body.trim() !== '' ? 'garbled_answer' : 'empty_answer';
}

function describeBody(answer: Answer & { tag: 'http' }, redact: (text: string) => string): string {
  const { location } = answer.headers;
  if (answer.status >= 300 && answer.status < 400 && location)
    return `HTTP ${answer.status}, a redirect to ${location}`;
  const body = redact(answer.body.slice(0, readForExcerpt)).trim();
  if (body === '') return `HTTP ${answer.status} with an empty body`;
  const kind = /^<(!doctype|html)/i.test(body) ? 'an HTML page' : 'an unexpected body';
  return `HTTP ${answer.status} with ${kind}: ${cut(body, excerptChars)}`;
}

/** Never through the middle of a character. */
function cut(text: string, chars: number): string {
  return text.length > chars ? text.slice(0, chars).toWellFormed() : text;
}
