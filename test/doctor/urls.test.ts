import { describe, expect, test } from 'vitest';
import { freePort } from '../support/wait.ts';
import { arrivalOf } from '../../src/doctor/stream-timing.ts';
import { createWard, findingsOf, problems, proxy, serve, simulate } from './ward.ts';

async function withBaseUrl(baseUrl: string, keys: Record<string, string>) {
  const report = await createWard({ baseUrl, keys }).examine();
  // What came from there tells nothing of the key.
  expect(findingsOf(report, 'key')).toEqual([]);
  expect(problems(report)).toHaveLength(1);
  return problems(report)[0];
}

const html = '<!doctype html><title>Not Found</title><h1>Nothing here</h1>';

describe('a base URL is told apart from the right one', () => {
  test.each([
    ['a 404 in HTML', 404, 'text/html', html, /a web site answers/],
    ['a page in place of the list', 200, 'text/html', html, /a web site answers/],
    ['a 404 in JSON', 404, 'application/json', '{"error":"Not Found"}', /what answers is not the API/],
  ])('at the wrong host: %s', async (_, status, type, body, what) => {
    const { keys } = await simulate({});
    const baseUrl = await serve((_request, response) => response.writeHead(status, { 'content-type': type }).end(body));
    expect(await withBaseUrl(baseUrl, keys)).toMatchObject({
      check: 'base-url',
      subject: baseUrl,
      what: expect.stringMatching(what),
      evidence: expect.stringContaining(`GET ${baseUrl}/v1/models`),
      cure: expect.stringMatching(/correct PMIND_BASE_URL .*https:\/\/api\.privatemind\.com/),
    });
  });

  test('with nobody listening there', async () => {
    const { keys } = await simulate({});
    const finding = await withBaseUrl(`http://127.0.0.1:${await freePort()}`, keys);
    expect(finding).toMatchObject({ check: 'base-url', what: expect.stringMatching(/cannot be reached/) });
  });

  test.each(['/v1/chat/completions', '/v1/v1', '/v1/models', '/console'])('with %s behind it', async (tail) => {
    const { simulator, keys } = await simulate({});
    expect(await withBaseUrl(simulator.baseUrl + tail, keys)).toMatchObject({
      check: 'base-url',
      what: expect.stringMatching(/^wrong path/),
      cure: expect.stringContaining(`as ${simulator.baseUrl}:`),
    });
  });

  test('where a proxy serves the API without /v1', async () => {
    const { simulator, keys } = await simulate({});
    const baseUrl = await proxy(simulator.baseUrl, { rename: (url) => `/v1${url}` });
    expect(await withBaseUrl(baseUrl, keys)).toMatchObject({
      check: 'base-url',
      what: expect.stringMatching(/path without \/v1/),
      cure: expect.stringContaining(`under ${baseUrl}/v1`),
    });
  });

  test('where http is redirected to https', async () => {
    const { keys } = await simulate({});
    const baseUrl = await serve((request, response) => {
      response.writeHead(301, { location: `https://${request.headers.host}${request.url}` }).end();
    });
    expect(await withBaseUrl(baseUrl, keys)).toMatchObject({
      what: 'http is redirected to https',
      cure: expect.stringContaining(baseUrl.replace('http:', 'https:')),
    });
  });

  test('where a proxy answers for a provider that is down', async () => {
    const { keys } = await simulate({});
    const baseUrl = await serve((_, response) => response.writeHead(502, { 'content-type': 'text/html' }).end(html));
    expect(await withBaseUrl(baseUrl, keys)).toMatchObject({ what: expect.stringMatching(/in trouble/) });
  });
});

test('a proxy that leaves out the usage page is a warning: nothing proves the key', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }] });
  const baseUrl = await proxy(simulator.baseUrl, { rename: (url) => url.replace('/v1/usage', '/nowhere') });
  const report = await createWard({ baseUrl, keys }).examine();
  expect(report.ok).toBe(true);
  expect(findingsOf(report, 'key')).toEqual([
    expect.objectContaining({ level: 'warning', cure: expect.stringContaining('--send') }),
  ]);
});

test('a provider whose clock differs by minutes is a warning', async () => {
  const baseUrl = await serve((_, response) => {
    response.writeHead(200, { date: new Date(Date.now() - 120_000).toUTCString() });
    response.end(JSON.stringify({ data: [{ id: 'some-model', aliases: ['fast', 'reasoning'] }] }));
  });
  const { keys } = await simulate({ keys: [{ name: 'a' }] });
  const report = await createWard({ baseUrl, keys }).examine();
  expect(findingsOf(report, 'clock', baseUrl)).toEqual([
    expect.objectContaining({ level: 'warning', evidence: expect.stringMatching(/1(19|20)\.\d s behind ours/) }),
  ]);
});

test('a proxy that buffers streams is found by --send, and one that does not is well', async () => {
  const { simulator, keys } = await simulate({ keys: [{ name: 'a' }] });
  simulator.control({ change: 'set_latency', latencyMs: 1000 });
  const [buffering, passing] = await Promise.all([
    proxy(simulator.baseUrl, { buffers: true }),
    proxy(simulator.baseUrl, {}),
  ]);
  const [held, passed] = await Promise.all(
    [buffering, passing].map((baseUrl) => createWard({ baseUrl, keys }).examine({ send: true })),
  );
  expect(problems(held!)).toEqual([
    expect.objectContaining({
      check: 'streaming',
      what: expect.stringMatching(/buffering proxy/),
      cure: expect.stringMatching(/proxy_buffering off/),
    }),
  ]);
  expect(problems(passed!)).toEqual([]);
  expect(findingsOf(passed!, 'streaming')).toEqual([
    expect.objectContaining({ level: 'ok', what: 'streams come as they are written' }),
  ]);
});

test.each([
  ['one piece, after a long silence', 12, 1, 3000, 3000, 'buffered'],
  ['two pieces, nearly together', 12, 2, 2990, 3000, 'buffered'],
  ['pieces over its whole time', 12, 12, 200, 3000, 'spread'],
  ['a long thought, then many pieces at once', 60, 40, 5000, 5100, 'spread'],
  ['one piece, at once', 12, 1, 30, 30, 'too_quick_to_tell'],
  ['too few events', 3, 1, 3000, 3000, 'too_quick_to_tell'],
])('a stream of %s is told apart', (_, events, pieces, firstMs, lastMs, arrival) => {
  const answer = { tag: 'failure', code: '', message: '', durationMs: 0 } as const;
  expect(arrivalOf({ answer, isEventStream: true, events, pieces, firstMs, lastMs })).toBe(arrival);
});
