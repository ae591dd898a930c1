import type { ProviderConfig } from '../../src/config.ts';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, describe, expect, it, test } from 'vitest';
import { createClient, type Client, type ClientOptions } from '../../src/provider/client.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { freePort, waitFor } from '../support/wait.ts';
import { providerAt, startUpstream } from './upstream.ts';

const as = (provider: ProviderConfig, secret = 'a:b') => ({ provider, secret, upstreamSecret: null });

const body = JSON.stringify({ model: 'fast', messages: [{ role: 'user', content: 'Name three rivers. 🌊' }] });
const made: Client[] = [];
afterEach(async () => {
  await Promise.all(made.splice(0).map((one) => one.close()));
});

function client(options: Partial<ClientOptions> = {}): Client {
  const one = createClient({ connections: 4, attemptTimeoutMs: 20_000, ...options });
  made.push(one);
  return one;
}

/** A server that speaks no HTTP; its connections end with it. */
async function listen(onConnection: (socket: Socket) => void): Promise<AsyncDisposable & { port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    onConnection(socket);
  }).listen({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

describe('a call', () => {
  it('sends the body and the key, and hands back status, headers and body', async () => {
    await using upstream = await startUpstream((response) => {
      response.writeHead(429, { 'Retry-After': '7', 'X-Request-Id': 'req-1', 'set-cookie': ['a=1', 'b=2'] });
      response.end('{"error":{"message":"wart’ 🌊"}}');
    });
    const answer = await client().chat({ sender: as(upstream.provider, 'a:b'), body });
    expect(answer).toMatchObject({
      tag: 'http',
      status: 429,
      headers: { 'retry-after': '7', 'x-request-id': 'req-1', 'set-cookie': 'a=1, b=2' },
      body: '{"error":{"message":"wart’ 🌊"}}',
    });
    expect(answer.durationMs).toBeGreaterThanOrEqual(0);
    expect(upstream.requests).toMatchObject([
      { method: 'POST', url: '/v1/chat/completions', body, headers: { authorization: 'Bearer a:b' } },
    ]);
    expect(upstream.requests[0]?.headers['content-type']).toBe('application/json');
  });

  it('goes below the path of the base URL', async () => {
    await using upstream = await startUpstream((response) => response.end('{}'));
    const provider = providerAt(`${upstream.provider.baseUrl}/llm/api`);
    await client().chat({ sender: as(provider, 'a:b'), body });
    await client().get(as(provider), '/v1/models');
    expect(upstream.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'POST /llm/api/v1/chat/completions',
      'GET /llm/api/v1/models',
    ]);
  });

  it('puts characters together that come in pieces', async () => {
    const bytes = Buffer.from('{"content":"🌊 Änderung"}');
    await using upstream = await startUpstream((response) => {
      response.write(bytes.subarray(0, 13));
      response.flushHeaders();
      setImmediate(() => response.end(bytes.subarray(13)));
    });
    expect(await client().chat({ sender: as(upstream.provider, 'a:b'), body })).toMatchObject({
      body: bytes.toString(),
    });
  });

  it('does not follow a redirect: the key stays with its host', async () => {
    await using other = await startUpstream((response) => response.end('{}'));
    await using upstream = await startUpstream((response) => {
      response.writeHead(307, { location: `${other.provider.baseUrl}/v1/chat/completions` }).end();
    });
    const answer = await client().chat({ sender: as(upstream.provider, 'a:b'), body });
    expect(answer).toMatchObject({ status: 307 });
    expect(other.requests).toEqual([]);
  });

  it('takes the last word of a server that sends early hints', async () => {
    await using upstream = await startUpstream((response) => {
      response.writeEarlyHints({ link: '</style.css>; rel=preload' });
      response.end('{"choices":[]}');
    });
    expect(await client().chat({ sender: as(upstream.provider, 'a:b'), body })).toMatchObject({
      status: 200,
      body: '{"choices":[]}',
    });
  });
});

describe('connections', () => {
  it('are used again', async () => {
    await using upstream = await startUpstream((response) => response.end('{}'));
    const one = client({ connections: 8 });
    for (let n = 0; n < 20; n += 1) await one.chat({ sender: as(upstream.provider, 'a:b'), body });
    expect(upstream.requests).toHaveLength(20);
    // The next call may go out while the last one's connection is just being put back.
    expect(upstream.connections()).toBeLessThanOrEqual(2);
  });

  it('are not more than allowed, and calls beyond them wait for their turn', async () => {
    await using upstream = await startUpstream((response) => setImmediate(() => response.end('{}')));
    const one = client({ connections: 3 });
    const calls = Array.from({ length: 30 }, () => one.chat({ sender: as(upstream.provider, 'a:b'), body }));
    for (const answer of await Promise.all(calls)) expect(answer).toMatchObject({ status: 200 });
    expect(upstream.connections()).toBeLessThanOrEqual(3);
  });

  it('carry 600 calls at once', async () => {
    const waiting: (() => void)[] = [];
    await using upstream = await startUpstream((response, { body: sent }) => {
      waiting.push(() => response.end(sent));
      // Nobody is answered before all are here: they are in flight together.
      if (waiting.length === 600) for (const answer of waiting) answer();
    });
    const one = client({ connections: 600 });
    const calls = Array.from({ length: 600 }, (_, n) =>
      one.chat({ sender: as(upstream.provider, 'a:b'), body: `{"n":${n}}` }),
    );
    const answers = await Promise.all(calls);
    expect(answers.map((answer) => (answer.tag === 'http' ? answer.body : answer.code))).toEqual(
      calls.map((_, n) => `{"n":${n}}`),
    );
    expect(upstream.connections()).toBe(600);
  });

  it('that broke are replaced', async () => {
    await using upstream = await startUpstream((response, { index }) => {
      if (index % 2 === 0) response.socket?.resetAndDestroy();
      else response.end('{}');
    });
    const one = client({ connections: 1 });
    const seen: (string | number)[] = [];
    for (let n = 0; n < 6; n += 1) {
      const answer = await one.chat({ sender: as(upstream.provider, 'a:b'), body });
      seen.push(answer.tag === 'http' ? answer.status : answer.code);
    }
    expect(seen).toEqual(['reset', 200, 'reset', 200, 'reset', 200]);
  });
});

describe('what goes wrong becomes an answer:', () => {
  const chat = (provider: ProviderConfig, options: Partial<ClientOptions> = {}) =>
    client(options).chat({ sender: as(provider, 'a:b'), body });

  test('nobody listens', async () => {
    const answer = await chat(providerAt(`http://127.0.0.1:${await freePort()}`));
    expect(answer).toMatchObject({ tag: 'failure', code: 'connect', message: /ECONNREFUSED/ });
  });

  test('the host has no address', async () => {
    const answer = await chat(providerAt('http://nobody.invalid'));
    expect(answer).toMatchObject({ tag: 'failure', code: 'connect', message: /nobody\.invalid/ });
  });

  test('the server does not speak TLS', async () => {
    await using upstream = await startUpstream((response) => response.end('{}'));
    let sent = 0;
    const provider = providerAt(upstream.provider.baseUrl.replace('http:', 'https:'));
    const answer = await client().chat({ sender: as(provider, 'a:b'), body, onSent: () => (sent += 1) });
    expect(answer).toMatchObject({ tag: 'failure', code: 'connect' });
    expect(sent).toBe(0);
  });

  test('the server never answers', async () => {
    await using upstream = await startUpstream(() => {});
    const answer = await chat(upstream.provider, { attemptTimeoutMs: 200 });
    expect(answer).toMatchObject({ tag: 'failure', code: 'timeout', message: /200 ms/ });
    expect(upstream.requests).toHaveLength(1);
  });

  test('the answer never ends', async () => {
    await using upstream = await startUpstream((response) => response.write('{"choices":['));
    expect(await chat(upstream.provider, { attemptTimeoutMs: 200 })).toMatchObject({ code: 'timeout' });
  });

  test('the connection is never made', async () => {
    // Takes the first bytes of a TLS handshake and says nothing.
    await using silent = await listen((socket) => socket.resume());
    const provider = providerAt(`https://127.0.0.1:${silent.port}`);
    let sent = 0;
    const one = client({ attemptTimeoutMs: 200 });
    expect(await one.chat({ sender: as(provider, 'a:b'), body, onSent: () => (sent += 1) })).toMatchObject({
      code: 'timeout',
    });
    expect(sent).toBe(0);
  });

  test('the connection is reset before the answer', async () => {
    await using upstream = await startUpstream((response) => response.socket?.resetAndDestroy());
    expect(await chat(upstream.provider)).toMatchObject({ code: 'reset', message: /before an answer came/ });
  });

  test('the connection is closed before the answer', async () => {
    await using upstream = await startUpstream((response) => response.socket?.end());
    expect(await chat(upstream.provider)).toMatchObject({ code: 'reset' });
  });

  test.each(['content-length', 'chunked'])('the answer is cut (%s)', async (kind) => {
    await using upstream = await startUpstream((response) => {
      if (kind === 'content-length') response.setHeader('content-length', 100);
      response.write('{"choices":[', () => response.socket?.end());
    });
    expect(await chat(upstream.provider)).toMatchObject({ code: 'cut', message: /broke off/ });
  });

  test('the answer is no HTTP', async () => {
    await using ssh = await listen((socket) => {
      socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.6\r\n'));
    });
    expect(await chat(providerAt(`http://127.0.0.1:${ssh.port}`))).toMatchObject({ code: 'reset' });
  });

  test('the answer is larger than any completion', async () => {
    const piece = Buffer.alloc(1024 * 1024, 'x');
    await using upstream = await startUpstream((response) => {
      const more = () => {
        while (!response.destroyed && response.write(piece));
      };
      response.on('drain', more).on('error', () => {});
      more();
    });
    expect(await chat(upstream.provider)).toMatchObject({ code: 'too_large' });
  });

  test('the key cannot stand in a header', async () => {
    await using upstream = await startUpstream((response) => response.end('{}'));
    const answer = await client().chat({ sender: as(upstream.provider, 'a\r\nx-evil: 1'), body });
    expect(answer).toMatchObject({ tag: 'failure', code: 'connect', message: /header/ });
    expect(upstream.requests).toEqual([]);
  });
});

test('a call that may not be sent any more is not', async () => {
  await using upstream = await startUpstream((response) => response.end('{}'));
  let sent = 0;
  const one = client();
  const refused = { sender: as(upstream.provider, 'a:b'), body, mayBeSent: () => false, onSent: () => (sent += 1) };
  const sending = { ...refused, mayBeSent: () => true };
  for (let times = 0; times < 5; times++) {
    expect(await one.chat(refused)).toMatchObject({ tag: 'failure', code: 'unsent' });
    expect(await one.chat(sending)).toMatchObject({ tag: 'http', status: 200 });
  }
  // The connection outlives it; another may be made for the call that follows at once.
  expect(upstream.connections()).toBeLessThanOrEqual(2);
  expect(upstream.requests).toHaveLength(5);
  expect(sent).toBe(5);
});

test('a call that is taken for hung is given up', async () => {
  await using upstream = await startUpstream(() => {});
  const asked: number[] = [];
  const isHung = (elapsedMs: number) => asked.push(elapsedMs) > 1;
  const answer = await client().chat({ sender: as(upstream.provider, 'a:b'), body, isHung });
  expect(answer).toMatchObject({ tag: 'failure', code: 'hung' });
  expect(asked).toHaveLength(2);
});

describe('onSent', () => {
  it('is called once, before the server sees a byte', async () => {
    const events: string[] = [];
    await using upstream = await startUpstream((response) => {
      events.push('seen');
      response.end('{}');
    });
    await client().chat({ sender: as(upstream.provider, 'a:b'), body, onSent: () => events.push('sent') });
    expect(events).toEqual(['sent', 'seen']);
  });

  it('is called once for each call, also where connections break', async () => {
    const sent = new Map<number, number>();
    await using upstream = await startUpstream((response, { index }) => {
      if (index % 3 === 0) response.socket?.resetAndDestroy();
      else response.end('{}');
    });
    const one = client({ connections: 5 });
    const calls = Array.from({ length: 60 }, (_, n) =>
      one.chat({
        sender: as(upstream.provider),
        body,
        onSent: () => sent.set(n, (sent.get(n) ?? 0) + 1),
      }),
    );
    await Promise.all(calls);
    expect([...sent.values()]).toEqual(calls.map(() => 1));
    expect(upstream.requests).toHaveLength(60);
  });

  it('is not called for a call that never gets a connection', async () => {
    let sent = 0;
    await client().chat({
      sender: as(providerAt(`http://127.0.0.1:${await freePort()}`)),
      body,
      onSent: () => (sent += 1),
    });
    expect(sent).toBe(0);
  });
});

describe('abort', () => {
  it('ends the calls in flight and those that wait, and nothing else', async () => {
    await using upstream = await startUpstream((response, { index }) => {
      if (index >= 2) response.end('{}');
    });
    const one = client({ connections: 2 });
    let sent = 0;
    const calls = Array.from({ length: 5 }, () =>
      one.chat({ sender: as(upstream.provider, 'a:b'), body, onSent: () => (sent += 1) }),
    );
    await waitFor(() => upstream.requests.length === 2);
    one.abort();
    for (const answer of await Promise.all(calls)) expect(answer).toMatchObject({ tag: 'failure', code: 'aborted' });
    expect(sent).toBe(2);
    expect(await one.chat({ sender: as(upstream.provider, 'a:b'), body })).toMatchObject({ status: 200 });
    expect(upstream.requests).toHaveLength(3);
  });

  it('ends a call in the middle of its answer', async () => {
    await using upstream = await startUpstream((response) => response.write('{"choices":['));
    const one = client();
    const call = one.chat({ sender: as(upstream.provider, 'a:b'), body });
    await waitFor(() => upstream.requests.length === 1);
    one.abort();
    expect(await call).toMatchObject({ code: 'aborted' });
  });

  it('does nothing where nothing is in flight', () => {
    expect(() => client().abort()).not.toThrow();
  });
});

describe('close', () => {
  it('aborts what is in flight, and every call after it', async () => {
    await using upstream = await startUpstream(() => {});
    const one = client();
    const call = one.chat({ sender: as(upstream.provider, 'a:b'), body });
    await waitFor(() => upstream.requests.length === 1);
    await one.close();
    expect(await call).toMatchObject({ code: 'aborted' });
    expect(await one.chat({ sender: as(upstream.provider, 'a:b'), body })).toMatchObject({ code: 'aborted' });
    expect(await one.get(as(upstream.provider), '/v1/models')).toMatchObject({ code: 'aborted' });
    expect(upstream.requests).toHaveLength(1);
  });

  it('may be called twice', async () => {
    const one = client();
    await Promise.all([one.close(), one.close()]);
    await one.close();
  });
});

test('it understands the simulator, faults included', async () => {
  await using simulator = await createSimulator({ scenario: { keys: [{ name: 'a', rpm: 100 }] } });
  const provider = providerAt(simulator.baseUrl);
  const secret = simulator.keys[0]?.token ?? '';
  const one = client();
  expect(await one.get(as(provider, secret), '/v1/models')).toMatchObject({ status: 200 });
  expect(await one.chat({ sender: as(provider, secret), body })).toMatchObject({ status: 200 });
  const faults: [string, object][] = [
    ['cut_body', { code: 'cut' }],
    ['reset', { code: 'reset' }],
    ['html_502', { status: 502 }],
    ['garbage', { status: 200 }],
    ['empty_200', { status: 200, body: '' }],
  ];
  for (const [kind, expected] of faults) {
    simulator.control({ change: 'set_faults', faults: [{ kind: kind as 'reset' }] });
    expect(await one.chat({ sender: as(provider, secret), body })).toMatchObject(expected);
  }
  await one.close();
});
