/** A limit that was found one too high, and what brings it down: it would be run into again in every window. */
import { expect, test } from 'vitest';
import { testRedis } from '../support/redis.ts';
import { createWorlds, makeKey } from './world.ts';

const redis = testRedis();
const createWorld = createWorlds(redis);

const cool = (key: ReturnType<typeof makeKey>) =>
  ({ kind: 'cool', reason: 'rpm_exceeded', retryAfterMs: 1, limit: key }) as const;

async function sendAndAnswer(world: Awaited<ReturnType<typeof createWorld>>, line: number) {
  for (;;) {
    const reply = await world.ask({ line });
    if (reply.tag !== 'slot' && reply.tag !== 'wait') throw new Error(reply.tag);
    world.clock.now += reply.waitMs;
    if (reply.tag === 'slot') return;
  }
}

test('a slot that came back unused is not taken for one that the provider accepted', async () => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  for (let line = 1; line <= 6; line += 1) await sendAndAnswer(world, line);
  // The sixth is refused while the fifth waits for its sending, which then does not happen.
  await world.settle(6, { act: cool(key) });
  expect(await redis.client.hmget(world.names.key(key.keyId), 'learnt', 'top')).toEqual(['5', '5']);
  await world.settle(5, { act: { kind: 'neutral' }, fate: 'release' });
  expect(await redis.client.hmget(world.names.key(key.keyId), 'learnt', 'top')).toEqual(['4', '4']);
});

test('a second 429 just below a limit that was found lowers it to what was accepted', async () => {
  const key = makeKey({ rpm: 'auto' });
  const world = await createWorld({ keys: [key] });
  await redis.client.hset(world.names.key(key.keyId), { top: 101, learnt: 101, learntAt: 1, sure: 1 });
  for (let line = 1; line <= 101; line += 1) await sendAndAnswer(world, line);
  await world.settle(101, { act: cool(key) });
  expect(await redis.client.hmget(world.names.key(key.keyId), 'learnt', 'top')).toEqual(['100', '100']);
});
