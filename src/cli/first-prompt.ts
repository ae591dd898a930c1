/** The first request of an input as it will be sent: what `check --template` shows, so that nobody pays for a slip. */
import type { InputFile } from '../batch/input.ts';
import { eachLine, readChunks } from '../batch/lines.ts';
import { parseRequest } from '../batch/request.ts';

export type FirstPrompt = {
  /** Line of the input: the number of the row. */
  row: number;
  customId: string;
  messages: { role: string; content: string }[];
};

/** Of a rendered input; null when no row gave one. */
export async function firstPrompt(input: InputFile): Promise<FirstPrompt | null> {
  let first: FirstPrompt | null = null;
  for await (const chunk of readChunks(input, { fromOffset: 0, fromLine: 1, maxLines: 100, maxBytes: 256 * 1024 })) {
    eachLine(chunk, (text, line) => {
      const parsed = first === null ? parseRequest(text, line, { model: null }) : null;
      if (!parsed?.ok) return;
      const { customId, body } = parsed.request;
      first = { row: line, customId, messages: body['messages'] as FirstPrompt['messages'] };
    });
    if (first !== null) break;
  }
  return first;
}

const longestShown = 2000;

/** For a terminal: indented, cut, and without control characters, which a row may hold. */
export function showPrompt({ row, customId, messages }: FirstPrompt): string {
  const shown = messages.map(({ role, content }) => {
    const more = content.length - longestShown;
    const text = more > 0 ? `${content.slice(0, longestShown)}… (${more} more characters)` : content;
    return `  ${role}: ${plain(text).replaceAll(/\n(?!\n)/g, '\n    ')}`;
  });
  return [`first prompt (row ${row}, custom_id ${plain(customId)}):`, ...shown].join('\n');
}

function plain(text: string): string {
  return text.replaceAll('\r\n', '\n').replaceAll(/[^\P{Cc}\n\t]/gu, '\ufffd');
}
