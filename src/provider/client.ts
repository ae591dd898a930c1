/**
 * The HTTP client: one keep-alive pool per provider host, sized to the concurrency. A call never throws: whatever
 * happens on the wire becomes an Answer. It is built on undici's `dispatch`, below its streams, because every
 * completion passes here and a body is only wanted whole.
 */
import { Agent, type Dispatcher } from 'undici';
import type { ProviderConfig } from '../config.ts';
import { systemErrorCode } from '../errors.ts';
import type { Answer } from './answer.ts';
import { profileOf } from './profile.ts';

export type ClientOptions = {
  /** Most connections to one host. */
  connections: number;
  /** For the whole call: connecting, sending, and the answer to its last byte. */
  attemptTimeoutMs: number;
};

export type ChatCall = {
  provider: ProviderConfig;
  secret: string;
  body: string;
  /** Called once, right before the request goes onto the wire; without it nothing was billed. */
  onSent?: () => void;
};

export type Client = {
  chat: (call: ChatCall) => Promise<Answer>;
  /** `GET /v1/models`. */
  models: (provider: ProviderConfig, secret: string) => Promise<Answer>;
  /** Ends all calls in flight now; each becomes a failure `aborted`. */
  abort: () => void;
  /** Aborts what is in flight and closes all connections. Calls after it fail as `aborted`. */
  close: () => Promise<void>;
};

const connectTimeoutMs = 10_000;
const listingTimeoutMs = 20_000;
/** A completion is some kilobytes; whoever sends more than this is no chat API. */
const largestBodyBytes = 64 * 1024 * 1024;

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
  const calls = new Set<() => void>();
  let isClosed = false;

  function send(
    url: URL,
    request: Omit<Dispatcher.DispatchOptions, 'origin' | 'path'>,
    timeoutMs: number,
    onSent?: () => void,
  ) {
    return new Promise<Answer>((resolve) => {
      const startedAt = performance.now();
      let sentAt = startedAt;
      let isSent = false;
      let controller: Dispatcher.DispatchController | null = null;
      let status = 0;
      let headers: Record<string, string> = {};
      let sizeBytes = 0;
      let ended = false;
      const chunks: Buffer[] = [];

      const finish = (answer: Answer) => {
        if (ended) return;
        ended = true;
        clearTimeout(timer);
        calls.delete(abort);
        resolve(answer);
      };
      const fail = (code: string, message: string) => {
        finish({ tag: 'failure', code, message, durationMs: Math.round(performance.now() - sentAt) });
        controller?.abort(new Error(message));
      };
      const abort = () => fail('aborted', 'the call was ended by us');
      const timer = setTimeout(() => fail('timeout', `no whole answer within ${timeoutMs} ms`), timeoutMs);
      calls.add(abort);
      if (isClosed) return abort();

      agent.dispatch(
        { ...request, origin: url.origin, path: url.pathname },
        {
          onRequestStart(started) {
            controller = started;
            if (ended) return started.abort(new Error('ended before it was sent'));
            isSent = true;
            sentAt = performance.now();
            onSent?.();
          },
          onResponseStart(_, statusCode, rawHeaders) {
            status = statusCode;
            headers = flatten(rawHeaders);
          },
          onResponseData(_, chunk) {
            sizeBytes += chunk.length;
            if (sizeBytes > largestBodyBytes) fail('too_large', `the answer is larger than ${largestBodyBytes} bytes`);
            else chunks.push(chunk);
          },
          onResponseEnd() {
            const durationMs = Math.round(performance.now() - sentAt);
            const body = chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString();
            finish({ tag: 'http', status, headers, body, durationMs });
          },
          onResponseError(_, error) {
            const { code, message } = describeFailure(error, { isSent, isAnswered: status > 0 });
            fail(code, message);
          },
        },
      );
    });
  }

  const urlOf = (provider: ProviderConfig, path: string) => new URL(provider.baseUrl + path);
  return {
    chat({ provider, secret, body, onSent }) {
      const profile = profileOf(provider.kind);
      const headers = {
        ...profile.authHeaders(secret),
        'content-type': 'application/json',
        accept: 'application/json',
      };
      return send(
        urlOf(provider, profile.chatPath),
        { method: 'POST', headers, body },
        options.attemptTimeoutMs,
        onSent,
      );
    },
    models(provider, secret) {
      const profile = profileOf(provider.kind);
      const headers = { ...profile.authHeaders(secret), accept: 'application/json' };
      return send(urlOf(provider, profile.modelsPath), { method: 'GET', headers }, listingTimeoutMs);
    },
    abort() {
      for (const abort of calls) abort();
    },
    close() {
      isClosed = true;
      for (const abort of calls) abort();
      return agent.destroy();
    },
  };
}

function flatten(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return flat;
}

/** Before it is sent, whatever breaks (name, route, TLS handshake) is a connection that could not be made. */
function describeFailure(error: Error, { isSent, isAnswered }: { isSent: boolean; isAnswered: boolean }) {
  // A host with several addresses fails with an error for each, and no message of its own.
  const message = error.message || systemErrorCode(error) || error.name;
  if (!isSent) return { code: 'connect', message: `cannot reach the provider: ${message}` };
  if (isAnswered) return { code: 'cut', message: `the answer broke off: ${message}` };
  return { code: 'reset', message: `the connection broke before an answer came: ${message}` };
}
