/** An HTTP upstream for the client's tests: a real server that does with each request what the test says. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { ProviderConfig } from '../../src/config.ts';

export type Upstream = AsyncDisposable & {
  provider: ProviderConfig;
  /** Connections that were ever made. */
  connections(): number;
  requests: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[];
};

/** `answer` is called when the whole request is there. */
export async function startUpstream(
  answer: (response: ServerResponse, request: { body: string; index: number }) => void,
): Promise<Upstream> {
  const sockets = new Set<Socket>();
  const requests: Upstream['requests'] = [];
  let connections = 0;
  const server: Server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('error', () => {});
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const body = Buffer.concat(pieces).toString();
      const { method = '', url = '', headers } = request;
      answer(response, { body, index: requests.push({ method, url, headers, body }) - 1 });
    });
  });
  server.keepAliveTimeout = 0;
  server.on('connection', (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    provider: providerAt(`http://127.0.0.1:${port}`),
    connections: () => connections,
    requests,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

export function providerAt(baseUrl: string): ProviderConfig {
  return { name: 'privatemind', kind: 'privatemind', baseUrl, windowMs: 60_000 };
}
