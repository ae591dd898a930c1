import { expect, test } from 'vitest';
import type { Keyring } from '../../src/keys/keyring.ts';
import { drainKey, retireKeys } from '../../src/keys/standing.ts';
import type { RetireReason } from '../../src/provider/outcome.ts';
import { stopForLackOfKeys } from '../../workers/stop.ts';
import { makeKey } from '../keys/world.ts';
import { testRedis } from '../support/redis.ts';
import { startSmallWorkers } from './small-worker.ts';

const redis = testRedis();
type State = { name: string; org?: string; is: RetireReason | 'drained' };

const rows: { when: string; states: State[]; comesBackAtMs?: number; code: string; cause: string }[] = [
  {
    when: 'a person has drained the only key',
    states: [{ name: 'alpha', is: 'drained' }],
    code: 'credentials',
    cause: 'no key is left for "fast" (alpha drained); let alpha send again: nightshift keys resume alpha',
  },
  {
    when: 'a person has drained all keys',
    states: [
      { name: 'alpha', is: 'drained' },
      { name: 'beta', is: 'drained' },
    ],
    code: 'credentials',
    cause:
      'no key is left for "fast" (alpha drained, beta drained); ' +
      'let alpha or beta send again: nightshift keys resume alpha',
  },
  {
    when: 'a key is revoked',
    states: [{ name: 'alpha', is: 'revoked' }],
    code: 'credentials',
    cause: 'no key is left for "fast" (alpha revoked); put a key that works in place of alpha',
  },
  {
    when: 'a key has spent what the provider gives it, and another is drained',
    states: [
      { name: 'alpha', is: 'exhausted' },
      { name: 'beta', is: 'drained' },
    ],
    code: 'budget',
    cause:
      'no key is left for "fast" (alpha exhausted, beta drained); raise the budget of alpha at the provider, ' +
      'or let beta send again: nightshift keys resume beta',
  },
  {
    when: 'one organisation is exhausted',
    states: [
      { name: 'alpha', org: 'acme', is: 'org_exhausted' },
      { name: 'beta', org: 'acme', is: 'org_exhausted' },
    ],
    comesBackAtMs: Date.UTC(2100, 0),
    code: 'budget',
    cause: 'the budget of organisation "acme" (alpha, beta) is exhausted; back 2100-01-01T00:00:00.000Z; raise it',
  },
  {
    when: 'two organisations are exhausted, and a key of a third is revoked',
    states: [
      { name: 'alpha', org: 'acme', is: 'org_exhausted' },
      { name: 'beta', org: 'acme', is: 'org_exhausted' },
      { name: 'gamma', org: 'other', is: 'org_exhausted' },
      { name: 'delta', org: 'third', is: 'revoked' },
    ],
    code: 'budget',
    cause:
      'the budget of organisation "acme" (alpha, beta) and that of organisation "other" (gamma) is exhausted, ' +
      'and no other key is left (delta revoked); raise one, or put a key that works in place of delta',
  },
];

test.each(rows)(
  'when $when, the cause names each key and the cure',
  async ({ when, states, comesBackAtMs, ...stop }) => {
    const { names, workers } = await startSmallWorkers(redis.url);
    const { ctx } = workers[0]!;
    // No other row's standing.
    const keys = states.map(({ name, org = 'org' }) => ({ ...makeKey({ name, org }), keyId: `${when} ${name}` }));
    for (const [index, { is }] of states.entries()) {
      const { keyId } = keys[index]!;
      if (is === 'drained') await drainKey(ctx.redis, names, keyId);
      else await retireKeys(ctx.redis, names, [keyId], is, null);
    }
    const keyring = { keys } as unknown as Keyring;
    const reply = { comesBackAtMs: comesBackAtMs ?? null, others: [] };
    expect(await stopForLackOfKeys({ ...ctx, keyring }, 'fast', reply)).toEqual(stop);
  },
);
