/** One result line (result-line.ts) → the cells that `--csv` puts behind a row. Pure. */
import type { Price } from '../config.ts';
import { usageOf } from '../provider/usage.ts';
import { isObject } from './body.ts';

export const answerColumns = [
  'answer',
  'model',
  'finish_reason',
  'error',
  'input_tokens',
  'output_tokens',
  'cost_usd',
] as const;

export type AnswerCells = {
  customId: string | null;
  /** In the order of `answerColumns`. Unknown is empty, never 0. */
  ours: string[];
};

/** `result` is null where there is none. The cost is that of the answer; what failed attempts cost, the ledger knows. */
export function answerCells(result: string | null, prices: Record<string, Price>): AnswerCells {
  if (result === null) return { customId: null, ours: ['', '', '', 'no result: see the output files', '', '', ''] };
  const parsed: unknown = JSON.parse(result);
  const line = isObject(parsed) ? parsed : {};
  const body = at(line['response'], 'body');
  const choices = at(body, 'choices');
  const choice: unknown = Array.isArray(choices) ? choices[0] : undefined;
  const model = at(body, 'model');
  const configured = typeof model === 'string' && Object.hasOwn(prices, model) ? (prices[model] ?? null) : null;
  const { inputTokens, outputTokens, costNanoUsd } = usageOf(body, { listing: null, configured });
  const { error } = line;
  const failure = isObject(error) ? [at(error, 'code'), at(error, 'message')].map(text).filter(Boolean).join(': ') : '';
  const told = [failure === '' ? answerOf(at(choice, 'message')) : '', model, at(choice, 'finish_reason'), failure];
  return {
    customId: typeof line['custom_id'] === 'string' ? line['custom_id'] : null,
    ours: [
      ...told.map((value) => withoutFormula(text(value))),
      text(inputTokens),
      text(outputTokens),
      costNanoUsd === null ? '' : decimalUsd(costNanoUsd),
    ],
  };
}

/** What the model said: its text, or failing that its refusal, or the calls of tools as JSON. */
function answerOf(message: unknown): string {
  const content = at(message, 'content');
  if (typeof content === 'string' && content !== '') return content;
  if (Array.isArray(content)) return content.map((part) => text(at(part, 'text'))).join('');
  const refusal = text(at(message, 'refusal'));
  return refusal === '' ? text(at(message, 'tool_calls')) : refusal;
}

/**
 * A spreadsheet computes a cell that begins with =, +, - or @ (also behind a tab or line break, and in their full-width
 * forms), and a model can be talked into writing one that sends data away. An apostrophe in front makes it text. Plain
 * numbers stay. Only cells of the provider's words are changed: the person's own columns must still match their file,
 * and the words as they came are in the output file. Source: OWASP, "CSV Injection".
 */
export function withoutFormula(cell: string): string {
  const clean = cell.replaceAll('\0', '\ufffd').toWellFormed();
  const isRisky = /^[\t\r\n]*[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(clean) || /^[\t\r]/.test(clean);
  const isNumber = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(clean);
  return isRisky && !isNumber ? `'${clean}` : clean;
}

/** All digits: 0.000001234, not 1.234e-6. */
function decimalUsd(nanoUsd: number): string {
  const [whole = '0', fraction = ''] = (nanoUsd / 1e9).toFixed(9).split('.');
  const digits = fraction.replace(/0+$/, '');
  return digits === '' ? whole : `${whole}.${digits}`;
}

function at(value: unknown, field: string): unknown {
  return isObject(value) && Object.hasOwn(value, field) ? value[field] : undefined;
}

function text(value: unknown): string {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
