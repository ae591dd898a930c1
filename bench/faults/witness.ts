/**
 * The witness: what reached the providers on the wire, call by call. It watches the simulators' HTTP servers from
 * outside (Node's diagnostics channel) and shares no code with the worker or with the simulators' own account. What a
 * call was billed comes from the provider's usage listing, by the id of the call.
 */
import diagnostics from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Simulator } from '../../src/simulator/server.ts';

export type SeenCall = {
  /** The provider's id of the call; null when the connection ended before there was one. */
  id: string | null;
  provider: string;
  keyName: string;
  /** Null when the request never came whole. */
  customId: string | null;
  /** performance.now */
  arrivedAtMs: number;
  /** When the whole answer had been handed to the network, or the connection ended. */
  endedAtMs: number | null;
  status: number | null;
  /** The answer left whole, as far as the provider can know. */
  isWhole: boolean;
};

export type Witness = {
  calls: SeenCall[];
  close: () => void;
};

const channel = 'http.server.request.start';
const completions = '/v1/chat/completions';
/** In the prompt of every line, and nowhere else. */
const marked = /\[(line-\d+)\]/;

/** `simulators`: by the provider's name. */
export function watch(simulators: ReadonlyMap<string, Simulator>): Witness {
  const calls: SeenCall[] = [];
  const providers = new Map([...simulators].map(([name, { port }]) => [port, name]));
  const keys = new Map(
    [...simulators.values()].flatMap(({ keys: own }) => own.map(({ token, name }) => [`Bearer ${token}`, name])),
  );
  const onRequest = (message: unknown) => {
    const { request, response, socket } = message as Started;
    const provider = providers.get(socket.localPort ?? 0);
    if (provider === undefined || request.method !== 'POST' || !request.url?.startsWith(completions)) return;
    const call: SeenCall = {
      id: null,
      provider,
      keyName: keys.get(request.headers.authorization ?? '') ?? '?',
      customId: null,
      arrivedAtMs: performance.now(),
      endedAtMs: null,
      status: null,
      isWhole: false,
    };
    calls.push(call);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => (call.customId = marked.exec(Buffer.concat(chunks).toString())?.[1] ?? null));
    response.once('close', () => {
      call.id = String(response.getHeader('x-request-id') ?? '') || null;
      call.endedAtMs = performance.now();
      call.status = response.headersSent ? response.statusCode : null;
      call.isWhole = response.writableFinished;
    });
  };
  diagnostics.subscribe(channel, onRequest);
  return { calls, close: () => void diagnostics.unsubscribe(channel, onRequest) };
}

type Started = { request: IncomingMessage; response: ServerResponse; socket: Socket };

/** What each call was billed, in nano USD, by its id: the provider's own listing. Keys must be in good standing. */
export async function readBills(simulators: ReadonlyMap<string, Simulator>): Promise<Map<string, number>> {
  const bills = new Map<string, number>();
  for (const { baseUrl, keys } of simulators.values()) {
    for (const { token } of keys) {
      const answer = await fetch(`${baseUrl}/v1/usage?limit=${mostListed}`, {
        headers: { authorization: `Bearer ${token}`, connection: 'close' },
      });
      const { data } = (await answer.json()) as { data: { id: string; cost_usd: number }[] };
      if (data.length >= mostListed) throw new Error('more calls on one key than its usage listing shows');
      for (const { id, cost_usd: costUsd } of data) bills.set(id, Math.round(costUsd * 1e9));
    }
  }
  return bills;
}

/** What the simulator's listing shows at most. */
const mostListed = 1000;
