/** Reading a request and writing a whole response. A response whose client has gone is left alone. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Refusal } from './dialect.ts';
import type { World } from './world.ts';

export type Exchange = { request: IncomingMessage; response: ServerResponse; id: string };

/** Far above any prompt the default catalogue could take. */
const maxBodyBytes = 16 * 1024 * 1024;

/** Hands over the body's text, or null when it is too large. A body that never ends is never handed over. */
export function readBody(request: IncomingMessage, done: (text: string | null) => void): void {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  request.on('data', (chunk: Buffer) => {
    sizeBytes += chunk.length;
    if (sizeBytes <= maxBodyBytes) chunks.push(chunk);
  });
  request.on('end', () => {
    if (sizeBytes > maxBodyBytes) done(null);
    else done(chunks.length === 1 ? chunks[0]!.toString() : Buffer.concat(chunks).toString());
  });
}

export function send(
  { response }: Exchange,
  status: number,
  body: string,
  contentType = 'application/json',
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.destroyed) return;
  response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body), ...headers });
  response.end(body);
}

/** Refuses in the provider's words; returns the status that was sent. */
export function refuse(world: World, exchange: Exchange, refusal: Refusal): number {
  const { status, body } = world.scenario.dialect.refuse(refusal);
  send(exchange, status, JSON.stringify(body));
  return status;
}
