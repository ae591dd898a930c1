/** What workers say of their keys, and what is made of it. */
import { expect, test } from 'vitest';
import {
  announceKeys,
  believedForMs,
  forgottenAfterMs,
  readAnnounced,
  withOrganisations,
} from '../../src/keys/announced.ts';
import { registerKeys } from '../../src/keys/standing.ts';
import { createNames } from '../../src/redis/names.ts';
import { testRedis } from '../support/redis.ts';
import { makeKey } from './world.ts';

const { client: redis, names: base } = testRedis();
let count = 0;
const createPlace = () => createNames(`${base.namespace}.${(count += 1)}`);
const config = { aliases: { privatemind: { fast: 'qwen3' } }, fallbacks: {} };
const keys = [makeKey({ name: 'a', rpm: 600 }), makeKey({ name: 'b', tpm: 5000 })];

/** As if it had been said so long ago. */
async function age(names: ReturnType<typeof createNames>, ms: number): Promise<void> {
  for (const [field, json] of Object.entries(await redis.hgetall(names.announced))) {
    const said = JSON.parse(json) as { atMs: number };
    await redis.hset(names.announced, field, JSON.stringify({ ...said, atMs: said.atMs - ms }));
  }
}

test('of the workers with the same keys one speaks for all', async () => {
  const names = createPlace();
  await announceKeys(redis, names, keys, config);
  await age(names, 1000);
  await announceKeys(redis, names, keys, config);
  const said = await readAnnounced(redis, names);
  expect(said.map(({ keyId }) => keyId).toSorted()).toEqual(keys.map(({ keyId }) => keyId).toSorted());
  expect(Math.min(...said.map(({ ageMs }) => ageMs))).toBeGreaterThanOrEqual(1000);
  expect(await redis.hlen(names.announced)).toBe(1);
});

test('of a key that several announce, the last word counts', async () => {
  const names = createPlace();
  await announceKeys(redis, names, keys, config);
  await age(names, believedForMs);
  await announceKeys(redis, names, keys.slice(0, 1), config);
  const ages = new Map((await readAnnounced(redis, names)).map(({ keyId, ageMs }) => [keyId, ageMs]));
  expect(ages.get(keys[0]!.keyId)).toBeLessThan(believedForMs);
  expect(ages.get(keys[1]!.keyId)).toBeGreaterThanOrEqual(believedForMs);
});

test('what nobody has said for long is forgotten, and words that are not understood are left alone', async () => {
  const names = createPlace();
  await announceKeys(redis, names, keys, config);
  await redis.hset(names.announced, 'newer', '{"version":2}');
  await age(names, forgottenAfterMs + 1);
  await redis.hset(names.announced, 'newer', '{"version":2}');
  await readAnnounced(redis, names);
  expect(await readAnnounced(redis, names)).toEqual([]);
  expect(await redis.hkeys(names.announced)).toEqual(['newer']);
});

test('no secret is said', async () => {
  const names = createPlace();
  await announceKeys(redis, names, keys, config);
  const said = JSON.stringify(await redis.hgetall(names.announced));
  for (const { secret } of keys) expect(said).not.toContain(secret);
});

test('what closed an organisation closed the keys that others announce, and is opened with them', async () => {
  const names = createPlace();
  const [ours, theirs, stranger] = [
    makeKey({ name: 'ours', org: 'acme' }),
    makeKey({ name: 'theirs', org: 'acme' }),
    makeKey({ name: 'stranger', org: 'other' }),
  ];
  await registerKeys(redis, names, [ours, theirs, stranger]);
  await announceKeys(redis, names, [theirs, stranger], config);
  const opened = await withOrganisations(redis, names, [ours]);
  expect(opened.map(({ keyId, name }) => [keyId, name])).toEqual([
    [ours.keyId, 'ours'],
    [theirs.keyId, 'theirs'],
  ]);
});
