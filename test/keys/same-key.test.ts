/** A configuration that is read again makes new objects of the same keys; lines of before and after ask together. */
import { expect, test } from 'vitest';
import { createAcquire } from '../../src/keys/limiter.ts';
import { testRedis } from '../support/redis.ts';
import { batchId, createWorlds, makeKey } from './world.ts';

const redis = testRedis();
const createWorld = createWorlds(redis);

test('two objects of one key count as one key, and each line gets the one that it asked with', async () => {
  const world = await createWorld();
  const acquire = createAcquire({ redis: redis.client, names: world.names, workerId: 'worker-1' });
  const keys = [makeKey({ name: 'a', rpm: 10 }), makeKey({ name: 'a', rpm: 10 }), makeKey({ name: 'a', rpm: 10 })];
  const slots = await Promise.all(
    keys.map((key, index) =>
      acquire({
        batchId,
        line: index + 1,
        attemptId: `a${index}`,
        customId: `request-${index}`,
        requestedModel: 'fast',
        candidates: [{ key, model: 'model' }],
        estimatedTokens: 0,
        estimatedCostNanoUsd: 5,
        waitingSinceMs: performance.now(),
      }),
    ),
  );
  for (const [index, slot] of slots.entries()) {
    expect(slot).toMatchObject({ tag: 'slot' });
    expect(slot.tag === 'slot' && slot.key).toBe(keys[index]);
  }
  const counted = await world.hash(world.names.key('id-a'));
  expect(counted).toMatchObject({ inflight: '3', reserved: '15' });
});
