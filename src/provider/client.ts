/**
 * The HTTP client: one keep-alive pool per provider host, sized to the concurrency. A call never throws: whatever
 * happens on the wire becomes an Answer (exchange.ts).
 */
import { Agent } from 'undici';
import type { ProviderConfig } from '../config.ts';
import type { Answer } from './answer.ts';
import { startExchange, type ExchangeOptions } from './exchange.ts';
import { profileOf, type Credentials } from './profile.ts';

export type ClientOptions = {
  /** Most connections to one host. */
  connections: number;
  /** For the whole call: connecting, sending, and the answer to its last byte. */
  attemptTimeoutMs: number;
  /** Between two pieces of a stream. */
  idleTimeoutMs?: number;
};

export type Sender = Credentials & { provider: ProviderConfig };

export type ChatCall = {
  sender: Sender;
  body: string;
  /** The answer comes in pieces: a long silence is a failure. */
  isStreamed?: boolean;
  headers?: Record<string, string>;
  /** Asked now and then of a call that lasts; a yes ends it with the failure `hung`. */
  isHung?: (elapsedMs: number) => boolean;
  /** Asked once, right before the request goes onto the wire; a no makes the call a failure `unsent`. */
  mayBeSent?: () => boolean;
  /** Called once after that; without it nothing was billed. */
  onSent?: () => void;
};

export type Client = {
  chat: (call: ChatCall) => Promise<Answer>;
  /** `GET` of a path of the provider, which may have a query. */
  get: (sender: Sender, path: string) => Promise<Answer>;
  /** Ends all calls in flight now; each becomes a failure `aborted`. */
  abort: () => void;
  /** Aborts what is in flight and closes all connections. Calls after it fail as `aborted`. */
  close: () => Promise<void>;
};

const connectTimeoutMs = 10_000;
const getTimeoutMs = 20_000;
/** A reasoning model may think for a while before its first token, and some proxies send nothing meanwhile. */
const defaultIdleTimeoutMs = 120_000;

export function createClient(options: ClientOptions): Client {
  const agent = new Agent({
    connections: options.connections,
    pipelining: 1,
    connect: { timeout: connectTimeoutMs },
    keepAliveTimeout: 30_000,
    // Our own clock bounds the whole call; undici's two would only end a long completion early.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const aborts = new Set<() => void>();
  let isClosed = false;

  function exchange(request: ExchangeOptions): Promise<Answer> {
    if (isClosed) {
      return Promise.resolve({ tag: 'failure', code: 'aborted', message: 'the call was ended by us', durationMs: 0 });
    }
    const { answer, abort } = startExchange(agent, request);
    aborts.add(abort);
    return answer.finally(() => aborts.delete(abort));
  }

  // A handful of addresses, asked for with every call.
  const urls = new Map<string, URL>();
  function urlOf({ provider }: Sender, path: string): URL {
    const text = provider.baseUrl + path;
    let url = urls.get(text);
    if (!url) urls.set(text, (url = new URL(text)));
    return url;
  }
  return {
    chat({ sender, body, isStreamed = false, headers, isHung, mayBeSent, onSent }) {
      const profile = profileOf(sender.provider.kind);
      return exchange({
        url: urlOf(sender, profile.chatPath),
        method: 'POST',
        headers: {
          ...profile.authHeaders(sender),
          'content-type': 'application/json',
          accept: isStreamed ? 'text/event-stream' : 'application/json',
          ...headers,
        },
        body,
        timeoutMs: options.attemptTimeoutMs,
        idleTimeoutMs: isStreamed ? (options.idleTimeoutMs ?? defaultIdleTimeoutMs) : null,
        isHung,
        mayBeSent,
        onSent,
      });
    },
    get(sender, path) {
      return exchange({
        url: urlOf(sender, path),
        method: 'GET',
        headers: { ...profileOf(sender.provider.kind).authHeaders(sender), accept: 'application/json' },
        timeoutMs: getTimeoutMs,
        idleTimeoutMs: null,
        isHung: undefined,
        mayBeSent: undefined,
        onSent: undefined,
      });
    },
    abort() {
      for (const abort of aborts) abort();
    },
    close() {
      isClosed = true;
      for (const abort of aborts) abort();
      return agent.destroy();
    },
  };
}
