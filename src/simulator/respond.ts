/** Reading a request and writing a whole response. A response whose client has gone is left alone. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Key } from './keyring.ts';
import type { Refusal } from './refusal.ts';
import type { World } from './world.ts';

export type Exchange = { request: IncomingMessage; response: ServerResponse; id: string };

/** Hands over the body's text, or null when it is too large. A body that never ends is never handed over. */
export function readBody(request: IncomingMessage, maxBodyBytes: number, done: (text: string | null) => void): void {
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
export function refuse(world: World, exchange: Exchange, refusal: Refusal, key: Key | null = null): number {
  const context = { requestId: exchange.id, nowMs: world.now(), key };
  const { status, body, headers } = world.scenario.dialect.refuse(refusal, context);
  send(exchange, status, JSON.stringify(body), 'application/json', headers);
  return status;
}
