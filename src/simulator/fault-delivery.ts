/** Does to a response what a fault says. Says which status the client was shown, or null where it saw none. */
import type { Fault } from './faults.ts';
import { send, type Exchange } from './respond.ts';
import { frameOf } from './stream.ts';
import type { Timers } from './timers.ts';

/** The answer that would have been sent. */
export type IntendedAnswer = { contentType: string; body: string; firstFrame: string | null };

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
  makeAnswer: () => IntendedAnswer,
): number | null {
  const { response } = exchange;
  if (response.destroyed) return null;
  switch (fault.kind) {
    case 'status':
      return deliverStatus(fault, exchange);
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
      const { contentType, firstFrame } = makeAnswer();
      const error = errorObject('Simulated fault: the answer failed after it had begun');
      const body = firstFrame === null ? bodyOf(fault, error) : firstFrame + frameOf(objectOf(fault, error));
      send(exchange, 200, body, contentType, fault.headers);
      return 200;
    }
    case 'cut_body': {
      const answer = makeAnswer();
      const bytes = Buffer.from(answer.body);
      openAnswer(exchange, fault, answer, bytes.length);
      // Close once the half is out: the client has seen a good beginning.
      response.write(bytes.subarray(0, bytes.length >> 1), () => response.socket?.destroy());
      return 200;
    }
    case 'slow_drip': {
      const answer = makeAnswer();
      const bytes = Buffer.from(answer.body);
      openAnswer(exchange, fault, answer, bytes.length);
      drip(exchange, timers, bytes, fault);
      return 200;
    }
    default:
      return fault.kind satisfies never;
  }
}

/** A fault of kind `status`. */
export function deliverStatus(fault: Fault, exchange: Exchange): number {
  const status = fault.status!;
  const body = bodyOf(fault, errorObject(`Simulated fault: status ${status}`));
  send(exchange, status, body, 'application/json', fault.headers);
  return status;
}

/** Sends the head. A stream's length is not announced; the length of a whole body is, and a cut breaks the promise. */
function openAnswer({ response }: Exchange, fault: Fault, answer: IntendedAnswer, sizeBytes: number): void {
  response.writeHead(200, {
    'content-type': answer.contentType,
    ...(answer.firstFrame === null && { 'content-length': sizeBytes }),
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

function errorObject(message: string): object {
  return { error: { message, type: 'server_error', code: 'simulated_fault' } };
}

function objectOf({ body }: Fault, usual: object): object {
  return typeof body === 'object' ? body : body === undefined ? usual : errorObject(body);
}

function bodyOf({ body }: Fault, usual: object | string): string {
  const chosen = body ?? usual;
  return typeof chosen === 'string' ? chosen : JSON.stringify(chosen);
}
