/** A run that waits for workers says once that there is none, and once that there is one. */
import { expect, test } from 'vitest';
import { createLog } from '../../src/log.ts';
import { redisTimeMs } from '../../src/redis/time.ts';
import { createNobodyWatch, type NobodyWatch } from '../../workers/nobody.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';

const { client, names } = testRedis();

function startWatch() {
  const messages: string[] = [];
  const write = (line: string) => void messages.push(JSON.parse(line).msg);
  const log = createLog('warn', { write });
  return { messages, watch: createNobodyWatch({ redis: client, names, log, stillForMs: 20 }) };
}

async function lookFor(watch: NobodyWatch, forMs: number): Promise<void> {
  const sinceMs = performance.now();
  await waitFor(async () => {
    await watch.look(0);
    return performance.now() - sinceMs > forMs;
  });
}

test('nobody is missed after a while without results, and greeted once', async () => {
  const { messages, watch } = startWatch();
  await waitFor(async () => {
    await watch.look(0);
    return messages.length > 0;
  });
  expect(messages).toEqual([expect.stringContaining('start one: nightshift worker')]);
  // Not again and again.
  await lookFor(watch, 100);
  expect(messages).toHaveLength(1);
  await watch.look(3);
  expect(messages.slice(1)).toEqual(['a worker is there']);
});

test('a worker that is slow is not taken for nobody', async () => {
  const { messages, watch } = startWatch();
  await client.zadd(names.workers, await redisTimeMs(client), 'elsewhere/7/a');
  await lookFor(watch, 100);
  expect(messages).toEqual([]);
});
