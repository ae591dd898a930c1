/**
 * How large a request is, as far as its body tells: the text that becomes the prompt, and the answers that it asks for.
 * Counts; what a character or an answer comes to in tokens is for those who estimate (keys/estimate.ts for what is
 * reserved, batch/estimate.ts for what is told before a batch). Pure.
 */

export type RequestSize = {
  /** Of text: the messages, the tools and the format of the answer, which the provider puts into the prompt. */
  textChars: number;
  /** The same in UTF-8. */
  textBytes: number;
  messages: number;
  /** Pictures, sound or files: their size says nothing about tokens, so they are not counted. */
  hasMedia: boolean;
  /** `max_tokens` (or `max_completion_tokens`) of each choice, where the request has one. */
  maxTokens: number | null;
  /** `n`: so many answers to one prompt. */
  choices: number;
};

/** `body` has passed the checks of batch/body.ts. */
export function sizeOf(body: Record<string, unknown>): RequestSize {
  const messages = body['messages'] as Record<string, unknown>[];
  const size: RequestSize = {
    textChars: 0,
    textBytes: 0,
    messages: messages.length,
    hasMedia: false,
    maxTokens: numberOr(body['max_completion_tokens'] ?? body['max_tokens'], null),
    choices: numberOr(body['n'], 1),
  };
  const add = (text: string) => {
    size.textChars += text.length;
    size.textBytes += Buffer.byteLength(text);
  };
  for (const { content, tool_calls: calls } of messages) {
    if (!eachText(content, add)) size.hasMedia = true;
    if (calls) add(JSON.stringify(calls));
  }
  for (const name of ['tools', 'response_format']) if (body[name]) add(JSON.stringify(body[name]));
  return size;
}

/** Hands on each text of a message's content. False: there is something in it that is no text. */
export function eachText(content: unknown, add: (text: string) => void): boolean {
  if (typeof content === 'string') add(content);
  if (!Array.isArray(content)) return true;
  let isAllText = true;
  for (const part of content as (Record<string, unknown> | null)[]) {
    const text = part?.['text'];
    if (typeof text === 'string') add(text);
    else isAllText = false;
  }
  return isAllText;
}

function numberOr<Other>(value: unknown, other: Other): number | Other {
  return typeof value === 'number' ? value : other;
}
