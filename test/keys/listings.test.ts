/** Listings between processes: each `createListings` here is one, on the same Redis, before a server that counts. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { createListings, type ListingResult } from '../../src/keys/listings.ts';
import { createClient } from '../../src/provider/client.ts';
import { createNames } from '../../src/redis/names.ts';
import { redisTimeMs } from '../../src/redis/time.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { makeKey } from './world.ts';

const redis = testRedis();
const hourMs = 3_600_000;
let tests = 0;

type Reply = { status?: number; body: string };

const listingOf = (...ids: string[]) =>
  JSON.stringify({ object: 'list', data: ids.map((id) => ({ id, object: 'model', model_type: 'chat' })) });
const idsOf = (result: ListingResult) => (result.tag === 'listing' ? [...result.listing.keys()] : result);

/** A provider that lists, in turn, what `replies` says (the last one again and again), and a namespace of its own. */
async function setup(replies: Reply[]) {
  let requests = 0;
  const held: (() => void)[] = [];
  let holding = false;
  const server = createServer((_, response) => {
    const { status = 200, body } = replies[Math.min(requests, replies.length - 1)]!;
    requests += 1;
    const answer = () => response.writeHead(status, { 'content-type': 'application/json' }).end(body);
    if (holding) held.push(answer);
    else answer();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = createClient({ connections: 4, attemptTimeoutMs: 5000 });
  onTestFinished(async () => {
    await client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const provider = makeKey().provider;
  // Short names under the file's own namespace: what is left of them goes with it.
  const keyId = `listing-${(tests += 1)}`;
  const key = {
    ...makeKey({ name: 'team-a' }),
    keyId,
    provider: { ...provider, baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
  };
  const names = createNames(redis.namespace);
  const process = (maxAgeMs = hourMs, refusedForMs = 0) =>
    createListings({ redis: redis.client, names, client, maxAgeMs, redact: (text) => text, refusedForMs });
  return {
    key,
    process,
    requests: () => requests,
    hold: () => void (holding = true),
    answer: () => {
      holding = false;
      for (const one of held.splice(0)) one();
    },
    /** As if the listing had been fetched so long ago. */
    age: async (ms: number) =>
      redis.client.hset(names.models('sim', keyId), 'fetchedAt', (await redisTimeMs(redis.client)) - ms),
    lockIsFree: async () => (await redis.client.exists(names.modelsLock('sim', keyId))) === 0,
  };
}

test('processes that need a listing at the same moment fetch it once', async () => {
  const { key, process, requests, hold, answer } = await setup([{ body: listingOf('m1') }]);
  const [one, two] = [process(), process()];
  hold();
  const asked = [one.get(key), one.get(key), two.get(key), two.get(key)];
  await waitFor(() => requests() === 1);
  answer();
  for (const result of await Promise.all(asked)) expect(idsOf(result)).toEqual(['m1']);
  expect(requests()).toBe(1);
  // A third one, started later, too.
  expect(idsOf(await process().get(key))).toEqual(['m1']);
  expect(requests()).toBe(1);
});

test('a listing older than its age is fetched again before use, by whoever needs it first', async () => {
  const { key, process, requests, age } = await setup([{ body: listingOf('old') }, { body: listingOf('new') }]);
  await process().get(key);
  await age(hourMs - 60_000);
  expect(idsOf(await process().get(key))).toEqual(['old']);
  await age(hourMs + 1);
  const [one, two] = [process(), process()];
  for (const result of await Promise.all([one.get(key), two.get(key)])) expect(idsOf(result)).toEqual(['new']);
  expect(requests()).toBe(2);
});

test('a listing that was wrong is fetched again, but not within its first second', async () => {
  const { key, process, requests, age } = await setup([{ body: listingOf('old') }, { body: listingOf('new') }]);
  await process().get(key);
  const listings = process();
  await listings.get(key);
  listings.distrust(key);
  expect(idsOf(await listings.get(key))).toEqual(['old']);
  expect(requests()).toBe(1);
  // In a process that found it two seconds old.
  await age(2000);
  const later = process();
  expect(idsOf(await later.get(key))).toEqual(['old']);
  later.distrust(key);
  expect(idsOf(await later.get(key))).toEqual(['new']);
  expect(requests()).toBe(2);
  expect(idsOf(await later.get(key))).toEqual(['new']);
  expect(requests()).toBe(2);
});

test('a process that distrusts a listing takes a newer one that another process has fetched', async () => {
  const { key, process, requests, age } = await setup([{ body: listingOf('old') }, { body: listingOf('new') }]);
  await process().get(key);
  await age(2000);
  const [one, two] = [process(), process()];
  await Promise.all([one.get(key), two.get(key)]);
  one.distrust(key);
  two.distrust(key);
  expect(idsOf(await one.get(key))).toEqual(['new']);
  expect(idsOf(await two.get(key))).toEqual(['new']);
  expect(requests()).toBe(2);
});

test.each([
  { what: 'an empty list', body: listingOf(), outcome: { tag: 'retry', code: 'empty_listing' } },
  { what: 'a page of HTML', body: '<html>welcome</html>', outcome: { tag: 'misconfigured', code: 'wrong_base_url' } },
  { what: 'other JSON', body: '{"ok":true}', outcome: { tag: 'misconfigured', code: 'wrong_base_url' } },
  { what: 'nothing', body: '', outcome: { tag: 'misconfigured', code: 'wrong_base_url' } },
  { what: 'a 404', status: 404, body: 'not here', outcome: { tag: 'misconfigured', code: 'wrong_base_url' } },
  {
    what: 'a 401',
    status: 401,
    body: '{"error":{"message":"Invalid API key","type":"authentication_error","code":"invalid_api_key"}}',
    outcome: { tag: 'key_retired' },
  },
  { what: 'a 502', status: 502, body: '<html>Bad Gateway</html>', outcome: { tag: 'retry' } },
])('$what is a refusal, and is asked again next time', async ({ body, status = 200, outcome }) => {
  const { key, process, requests, lockIsFree } = await setup([{ status, body }, { body: listingOf('m1') }]);
  const listings = process();
  expect(await listings.get(key)).toMatchObject({ tag: 'refused', outcome });
  expect(await lockIsFree()).toBe(true);
  expect(idsOf(await listings.get(key))).toEqual(['m1']);
  expect(requests()).toBe(2);
});

test('a refusal holds for a while, so that a dead key is not asked for every line', async () => {
  const { key, process, requests } = await setup([{ status: 401, body: '{}' }, { body: listingOf('m1') }]);
  const listings = process(hourMs, hourMs);
  await listings.get(key);
  expect(await listings.get(key)).toMatchObject({ tag: 'refused' });
  expect(requests()).toBe(1);
});

test('a provider that cannot be reached is a refusal', async () => {
  const { key, process, lockIsFree } = await setup([{ body: listingOf('m1') }]);
  const nowhere = { ...key, provider: { ...key.provider, baseUrl: 'http://127.0.0.1:1' } };
  expect(await process().get(nowhere)).toMatchObject({ tag: 'refused', outcome: { tag: 'retry' } });
  expect(await lockIsFree()).toBe(true);
});

test('what another version left in Redis, and cannot be read, is fetched again', async () => {
  const { key, process, requests } = await setup([{ body: listingOf('m1') }]);
  const now = await redisTimeMs(redis.client);
  await redis.client.hset(redis.names.models('sim', key.keyId), { json: '{"models"', fetchedAt: now });
  expect(idsOf(await process().get(key))).toEqual(['m1']);
  expect(requests()).toBe(1);
});
