/**
 * One HTTP exchange: a request goes out, an Answer comes back, whatever happens on the wire. Built on undici's
 * `dispatch`, below its streams: every completion passes here, and a body is only wanted whole. A body of server-sent
 * events is put together by stream.ts and handed on as if it had been asked for whole.
 */
import type { Agent, Dispatcher } from 'undici';
import { systemErrorCode } from '../errors.ts';
import type { Answer } from './answer.ts';
import { createStreamAssembler, type StreamAssembler } from './stream.ts';

export type ExchangeOptions = {
  url: URL;
  method: 'GET' | 'POST';
  headers: Record<string, string>;
  body?: string;
  /** For the whole call: connecting, sending, and the answer to its last byte. */
  timeoutMs: number;
  /** Between two pieces of a stream, and before the first; null: only `timeoutMs` counts. */
  idleTimeoutMs: number | null;
  /** Asked now and then of a call that lasts: is it worth waiting for? */
  isHung: ((elapsedMs: number) => boolean) | undefined;
  /** Asked once, right before the request goes onto the wire. */
  mayBeSent: (() => boolean) | undefined;
  /** Called once after that; without it nothing was billed. */
  onSent: (() => void) | undefined;
};

export type Exchange = { answer: Promise<Answer>; abort: () => void };

const hungCheckEveryMs = 1000;
/** A completion is some kilobytes; whoever sends more than this is no chat API. */
const largestBodyBytes = 64 * 1024 * 1024;

export function startExchange(agent: Agent, options: ExchangeOptions): Exchange {
  let abort: () => void = () => {};
  const answer = new Promise<Answer>((resolve) => {
    let sentAt = performance.now();
    let isSent = false;
    let isEnded = false;
    let controller: Dispatcher.DispatchController | null = null;
    let status = 0;
    let headers: Record<string, string> = {};
    let reader: BodyReader = wholeReader();
    let idle: NodeJS.Timeout | undefined;

    const sinceSent = () => Math.round(performance.now() - sentAt);
    const finish = (result: Answer) => {
      if (isEnded) return;
      isEnded = true;
      clearTimeout(timer);
      clearTimeout(idle);
      resolve(result);
    };
    const fail = (code: string, message: string) => {
      if (isEnded) return;
      finish({ tag: 'failure', code, message, durationMs: sinceSent() });
      controller?.abort(new Error(message));
    };
    const watchIdle = () => {
      clearTimeout(idle);
      const { idleTimeoutMs } = options;
      if (idleTimeoutMs === null || isEnded) return;
      idle = setTimeout(() => fail('idle', `the stream stood still for ${idleTimeoutMs} ms`), idleTimeoutMs);
    };
    abort = () => fail('aborted', 'the call was ended by us');
    const { timeoutMs } = options;
    const begunAt = performance.now();
    const look = () => {
      const leftMs = timeoutMs - (performance.now() - begunAt);
      if (leftMs < 1) return fail('timeout', `no whole answer within ${timeoutMs} ms`);
      if (isSent && options.isHung?.(sinceSent()))
        return fail('hung', `no answer after ${sinceSent()} ms, far longer than others take`);
      timer = setTimeout(look, Math.min(leftMs, hungCheckEveryMs));
    };
    let timer = setTimeout(look, Math.min(timeoutMs, hungCheckEveryMs));

    const { url, method, headers: requestHeaders, body } = options;
    const request = { origin: url.origin, path: url.pathname + url.search, method, headers: requestHeaders };
    agent.dispatch(
      { ...request, ...(body !== undefined && { body }) },
      {
        onRequestStart(started) {
          controller = started;
          if (isEnded) return started.abort(new Error('ended before it was sent'));
          sentAt = performance.now();
          if (options.mayBeSent?.() === false) {
            finish({
              tag: 'failure',
              code: 'unsent',
              message: 'the call was not sent: its time had passed',
              durationMs: 0,
            });
            // Thrown, not aborted: an abort would end the connection, and the next call would be late for want of it.
            throw new Error('unsent');
          }
          isSent = true;
          options.onSent?.();
          watchIdle();
        },
        onResponseStart(_, statusCode, rawHeaders) {
          status = statusCode;
          headers = flatten(rawHeaders);
          if (headers['content-type']?.startsWith('text/event-stream')) reader = streamReader(sinceSent);
        },
        onResponseData(_, chunk) {
          watchIdle();
          if (!reader.push(chunk)) fail('too_large', `the answer is larger than ${largestBodyBytes} bytes`);
        },
        onResponseEnd() {
          const read = reader.end();
          if ('cut' in read) return fail('cut', read.cut);
          finish({ tag: 'http', status, headers, durationMs: sinceSent(), ...read });
        },
        onResponseError(_, error) {
          const { code, message } = describeFailure(error, { isSent, isAnswered: status > 0 });
          fail(code, message);
        },
      },
    );
  });
  return { answer, abort };
}

type Read = { body: string; firstTokenMs: number | null };
type BodyReader = {
  /** False when it is too much. */
  push: (chunk: Buffer) => boolean;
  end: () => Read | { cut: string };
};

function wholeReader(): BodyReader {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  return {
    push(chunk) {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      return sizeBytes <= largestBodyBytes;
    },
    end() {
      const body = chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString();
      return { body, firstTokenMs: null };
    },
  };
}

function streamReader(sinceSent: () => number): BodyReader {
  const assembler: StreamAssembler = createStreamAssembler();
  const decoder = new TextDecoder();
  let sizeBytes = 0;
  let firstTokenMs: number | null = null;
  return {
    push(chunk) {
      sizeBytes += chunk.length;
      assembler.push(decoder.decode(chunk, { stream: true }));
      if (firstTokenMs === null && assembler.hasBegun()) firstTokenMs = sinceSent();
      return sizeBytes <= largestBodyBytes;
    },
    end() {
      assembler.push(decoder.decode());
      const end = assembler.end();
      return end.tag === 'cut' ? { cut: end.message } : { body: end.body, firstTokenMs };
    },
  };
}

/** In place: the object was made for us. */
function flatten(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    if (Array.isArray(value)) headers[name] = value.join(', ');
  }
  return headers as Record<string, string>;
}

/** Before it is sent, whatever breaks (name, route, TLS handshake) is a connection that could not be made. */
function describeFailure(error: Error, { isSent, isAnswered }: { isSent: boolean; isAnswered: boolean }) {
  // A host with several addresses fails with an error for each, and no message of its own.
  const message = error.message || systemErrorCode(error) || error.name;
  if (!isSent) return { code: 'connect', message: `cannot reach the provider: ${message}` };
  if (isAnswered) return { code: 'cut', message: `the answer broke off: ${message}` };
  return { code: 'reset', message: `the connection broke before an answer came: ${message}` };
}
