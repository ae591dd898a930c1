/**
 * The network in front of a provider: passes bytes on until it is cut. A cut network resets its connections, or takes
 * everything and delivers nothing; what was under way is gone when it is mended, as with a provider whose answers
 * cannot be delivered any more.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export type GateState = 'open' | 'reset' | 'drop';

export type Gate = {
  port: number;
  set: (state: GateState) => void;
  close: () => Promise<void>;
};

export async function openGate(toPort: number): Promise<Gate> {
  let state: GateState = 'open';
  const pairs = new Map<Socket, Socket | null>();
  const tear = () => {
    for (const [client, upstream] of pairs) {
      client.resetAndDestroy();
      upstream?.destroy();
    }
  };
  const server = createServer({ noDelay: true }, (client) => {
    client.on('error', () => {});
    if (state === 'reset') {
      client.resetAndDestroy();
      return;
    }
    if (state === 'drop') {
      pairs.set(client, null);
      client.resume();
      client.once('close', () => pairs.delete(client));
      return;
    }
    const upstream = connect({ port: toPort, host: '127.0.0.1', noDelay: true });
    upstream.on('error', () => {});
    pairs.set(client, upstream);
    client.once('close', () => {
      pairs.delete(client);
      upstream.destroy();
    });
    upstream.once('close', () => {
      // Whatever way the provider ended it, an answer that was cut stays cut.
      if (state !== 'drop') client.destroySoon();
    });
    client.on('data', (bytes) => state === 'drop' || upstream.write(bytes));
    upstream.on('data', (bytes) => state === 'drop' || client.write(bytes));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    set(next) {
      const before = state;
      state = next;
      if (next === 'reset' || before === 'drop') tear();
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      tear();
      await closed;
    },
  };
}
