/** What a worker says of refused keys, round after round. */
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { createKeyring } from '../../src/keys/keyring.ts';
import type { ListingResult } from '../../src/keys/listings.ts';
import { createLog } from '../../src/log.ts';
import { tellOfListings } from '../../workers/refused.ts';
import { secret } from './small-worker.ts';

const listing: ListingResult = { tag: 'listing', listing: new Map() };
const refused: ListingResult = {
  tag: 'refused',
  outcome: { tag: 'key_retired', reason: 'invalid', backInMs: null, code: 'invalid_api_key', message: 'No\nsuch key' },
};
const away: ListingResult = {
  tag: 'refused',
  outcome: { tag: 'retry', retryAfterMs: null, code: 'connection', message: 'ECONNREFUSED' },
};

function listen() {
  const said: string[] = [];
  const log = createLog('warn', { write: (line) => void said.push((JSON.parse(line) as { msg: string }).msg) });
  const keyring = createKeyring(loadConfig({ cwd: '/', env: { PMIND_KEYS: `${secret},${secret.replace('B', 'C')}` } }));
  /** What is said of one round's listings. */
  const round = (...results: (ListingResult | null)[]) => {
    tellOfListings(
      { keyring, log },
      keyring.keys.map((key, index) => ({ key, result: results[index] ?? null })),
    );
    return said.splice(0);
  };
  return { round };
}

const of = (name: string) => `key ${name} was refused (invalid): No such key; see: nightshift keys check`;
const none = 'every key was refused: this worker can send nothing with its own keys until one of them works';

test('a refused key is told of once, and again only when it was well in between', () => {
  const { round } = listen();
  expect(round(refused, listing)).toEqual([of('privatemind-1')]);
  expect(round(refused, listing)).toEqual([]);
  expect(round(null, listing)).toEqual([]);
  expect(round(refused, listing)).toEqual([]);
  expect(round(listing, listing)).toEqual([]);
  expect(round(refused, listing)).toEqual([of('privatemind-1')]);
});

test('that every key is refused is told once, however late some answer', () => {
  const { round } = listen();
  expect(round(refused, null)).toEqual([of('privatemind-1')]);
  expect(round(refused, refused)).toEqual([of('privatemind-2'), none]);
  expect(round(refused, null)).toEqual([]);
  expect(round(refused, refused)).toEqual([]);
  expect(round(listing, refused)).toEqual([]);
  expect(round(refused, refused)).toEqual([of('privatemind-1'), none]);
});

test('a provider that does not answer refuses nothing', () => {
  const { round } = listen();
  expect(round(away, away)).toEqual([]);
  expect(round(away, refused)).toEqual([of('privatemind-2')]);
});
