/**
 * The upstream, a process: answers every POST at once with the same completion and every GET with the list of models.
 * It reads no more of a request than where it ends, so that the contenders and not this are measured. It tells its
 * parent when the first request came, when the first answer left, and when as many as expected have.
 */
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { completion, models } from './answer.ts';

const endOfHead = Buffer.from('\r\n\r\n');
const completionAnswer = answerOf(completion);
const modelsAnswer = answerOf(models);
const firstByteOfGet = 'G'.charCodeAt(0);

let expected = Infinity;
let answered = 0;

process.on('message', (message: { type: string; count?: number }) => {
  if (message.type === 'expect') {
    expected = message.count ?? Infinity;
    answered = 0;
    process.send?.({ type: 'expecting' });
  }
  if (message.type === 'count') process.send?.({ type: 'counted', answered });
});
process.on('disconnect', () => process.exit(0));

const server = createServer({ noDelay: true }, serve);
server.listen(0, '127.0.0.1', 4096, () => {
  process.send?.({ type: 'listening', port: (server.address() as AddressInfo).port });
});

function answerOf(json: object): Buffer {
  const body = JSON.stringify(json);
  const head = [
    'HTTP/1.1 200 OK',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'x-request-id: req_7c1f0d5e2b9a4c36',
    'openai-processing-ms: 1',
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`);
}

function serve(socket: Socket): void {
  let held: Buffer | null = null;
  socket.on('error', () => socket.destroy());
  socket.on('data', (piece: Buffer) => {
    let bytes = held ? Buffer.concat([held, piece]) : piece;
    for (let length = requestLength(bytes); length !== null; length = requestLength(bytes)) {
      if (Number.isNaN(length)) {
        socket.destroy();
        return;
      }
      const isGet = bytes[0] === firstByteOfGet;
      if (!isGet && answered === 0) report('request');
      socket.write(isGet ? modelsAnswer : completionAnswer);
      if (!isGet) count();
      bytes = bytes.subarray(length);
    }
    held = bytes.length > 0 ? bytes : null;
  });
}

/** Of the request that begins here, with its body; null while it is not whole; NaN where it cannot be told. */
function requestLength(bytes: Buffer): number | null {
  const headEnd = bytes.indexOf(endOfHead);
  if (headEnd === -1) return null;
  const bodyAt = headEnd + endOfHead.length;
  if (bytes[0] === firstByteOfGet) return bodyAt;
  const length = bodyAt + Number(/\r\ncontent-length: *(\d+)/i.exec(bytes.toString('latin1', 0, headEnd))?.[1]);
  return length > bytes.length ? null : length;
}

function count(): void {
  answered += 1;
  if (answered === 1) report('first');
  if (answered === expected) report('last');
}

function report(type: string): void {
  process.send?.({ type, atMs: performance.timeOrigin + performance.now() });
}
