/** Does to a response what a fault says. Says which status the client was shown, or null where it saw none. */
import type { Dialect } from './dialect.ts';
import type { Fault } from './faults.ts';
import { send, type Exchange } from './respond.ts';
import { cutStream, endOpen, failInStream, stall } from './stream-faults.ts';
import { frameOf, type StreamedAnswer } from './stream.ts';
import type { Timers } from './timers.ts';

/** The answer that would have been sent. */
export type IntendedAnswer = {
  contentType: string;
  body: string;
  /** Null for an answer that is not streamed. */
  stream: StreamedAnswer | null;
  headers: Record<string, string> | undefined;
};

const badGatewayPage = [
  '<html>',
  '<head><title>502 Bad Gateway</title></head>',
  '<body>',
  '<center><h1>502 Bad Gateway</h1></center>',
  '<hr><center>nginx</center>',
  '</body>',
  '</html>',
  '',
].join('\r\n');

const garbage = '\u0000\u0001{"id": "chatcmpl-sim", "choices": [{"message": \u0007\ufffd\ufffd <<<<';

export function deliverFault(
  fault: Fault,
  exchange: Exchange,
  timers: Timers,
  dialect: Dialect,
  makeAnswer: () => IntendedAnswer,
): number | null {
  const { response } = exchange;
  if (response.destroyed) return null;
  switch (fault.kind) {
    case 'status':
      return deliverStatus(fault, exchange, dialect);
    case 'hang':
      return null;
    case 'reset':
      response.socket?.resetAndDestroy();
      return null;
    case 'html_502':
      send(exchange, 502, bodyOf(fault, badGatewayPage), 'text/html', fault.headers);
      return 502;
    case 'garbage':
      send(exchange, 200, bodyOf(fault, garbage), makeAnswer().contentType, fault.headers);
      return 200;
    case 'empty_200':
      send(exchange, 200, '', makeAnswer().contentType, fault.headers);
      return 200;
    case 'error_200': {
      const { contentType, stream, headers } = makeAnswer();
      const error = failureBody(fault, exchange, dialect);
      const body = stream ? stream.frames[0]! + frameOf(error) : bodyOf(fault, error);
      send(exchange, 200, body, contentType, { ...headers, ...fault.headers });
      return 200;
    }
    case 'cut_body': {
      const answer = makeAnswer();
      const bytes = Buffer.from(answer.body);
      openAnswer(exchange, fault, answer, bytes.length);
      if (answer.stream && fault.afterChunks !== undefined) cutStream(fault, exchange, answer.stream);
      // Close once the half is out: the client has seen a good beginning.
      else response.write(bytes.subarray(0, bytes.length >> 1), () => response.socket?.destroy());
      return 200;
    }
    case 'slow_drip': {
      const answer = makeAnswer();
      const bytes = Buffer.from(answer.body);
      openAnswer(exchange, fault, answer, bytes.length);
      drip(exchange, timers, bytes, fault);
      return 200;
    }
    case 'stream_error':
    case 'open_end':
    case 'stall': {
      const answer = makeAnswer();
      const stream = answer.stream!;
      openAnswer(exchange, fault, answer, 0);
      if (fault.kind === 'open_end') endOpen(fault, exchange, stream);
      else if (fault.kind === 'stall') stall(fault, exchange, stream, timers);
      else failInStream(fault, exchange, stream, failureBody(fault, exchange, dialect));
      return 200;
    }
    case 'refuse':
      // Refused before it became a call.
      throw new Error('a refusal is not an answer');
    default:
      return fault.kind satisfies never;
  }
}

/** A fault of kind `status`. */
export function deliverStatus(fault: Fault, exchange: Exchange, dialect: Dialect): number {
  const status = fault.status!;
  const message = `Simulated fault: status ${status}`;
  const body = bodyOf(fault, dialect.faultBody(fault, { status, message, requestId: exchange.id }));
  send(exchange, status, body, 'application/json', fault.headers);
  return status;
}

/** Sends the head. A stream's length is not announced; the length of a whole body is, and a cut breaks the promise. */
function openAnswer({ response }: Exchange, fault: Fault, answer: IntendedAnswer, sizeBytes: number): void {
  response.writeHead(200, {
    'content-type': answer.contentType,
    ...(answer.stream === null && { 'content-length': sizeBytes }),
    ...answer.headers,
    ...fault.headers,
  });
  response.flushHeaders();
}

function drip({ response }: Exchange, timers: Timers, bytes: Buffer, { dripBytes, intervalMs }: Fault): void {
  let at = 0;
  const next = (): void => {
    if (response.destroyed) return;
    response.write(bytes.subarray(at, at + dripBytes));
    at += dripBytes;
    if (at < bytes.length) timers.after(intervalMs, next);
    else response.end();
  };
  next();
}

/** The error object of an answer that fails half-way. A script that gives text gives the message. */
function failureBody(fault: Fault, { id: requestId }: Exchange, dialect: Dialect): object {
  if (typeof fault.body === 'object') return fault.body;
  const message = fault.body ?? 'Simulated fault: the answer failed after it had begun';
  return dialect.faultBody(fault, { status: 200, message, requestId });
}

function bodyOf({ body }: Fault, usual: object | string): string {
  const chosen = body ?? usual;
  return typeof chosen === 'string' ? chosen : JSON.stringify(chosen);
}
