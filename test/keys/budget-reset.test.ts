/** The trial at a budget's reset comes too soon where the provider's clock, or the job that resets it, is a little late. */
import { expect, test } from 'vitest';
import type { ProviderKind } from '../../src/config.ts';
import { classify } from '../../src/provider/classify.ts';
import { testRedis } from '../support/redis.ts';
import { createWorlds } from './world.ts';

const worlds = createWorlds(testRedis());

test.each([
  ['curate-me', Date.UTC(2026, 2, 15), { code: 'daily_limit_exceeded', message: 'Daily limit exceeded' }],
  ['privatemind', Date.UTC(2026, 3, 1), { code: 'org_budget', message: 'Organisation budget exhausted' }],
] satisfies [ProviderKind, number, object][])(
  'a key of %s that is refused right at its budget\u2019s reset is tried again minutes later, not a period later',
  async (kind, resetMs, error) => {
    const world = await worlds();
    const [key] = world.keys;
    await world.setKey('a', { standing: 'retired', reason: 'org_exhausted', until: resetMs });
    world.clock.now = resetMs;
    expect(await world.ask({ line: 1 })).toMatchObject({ tag: 'slot' });
    world.clock.now = resetMs + 200;
    const answer = { tag: 'http' as const, status: 402, headers: {}, durationMs: 1, body: JSON.stringify({ error }) };
    const outcome = classify(kind, answer, { nowMs: world.clock.now });
    if (outcome.tag !== 'org_retired') throw new Error(`taken for ${outcome.tag}`);
    const { reason, backInMs } = outcome;
    await world.settle(1, { act: { kind: 'retire', reason, backInMs, keyIds: [key!.keyId] } });
    expect(await world.ask({ line: 2 })).toMatchObject({ tag: 'none' });
    world.clock.now = resetMs + 5 * 60_000;
    expect(await world.ask({ line: 2 })).toMatchObject({ tag: 'slot' });
  },
);
