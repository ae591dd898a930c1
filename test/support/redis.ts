/** The suite's Redis, with a namespace that is this test file's alone and is gone after it. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, inject } from 'vitest';
import { createNames, type Names } from '../../src/redis/names.ts';

export type TestRedis = { url: string; client: Redis; namespace: string; names: Names };

/** Call it once, at the top of a test file or in a `describe`. The client connects with its first command. */
export function testRedis(): TestRedis {
  const url = inject('redisUrl');
  const namespace = `test-${randomBytes(6).toString('hex')}`;
  const client = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: null });
  client.on('error', () => {});
  afterAll(async () => {
    if (client.status === 'wait') return client.disconnect();
    for await (const keys of client.scanStream({ match: `*{${namespace}}*`, count: 1_000 })) {
      if (keys.length > 0) await client.unlink(...(keys as string[]));
    }
    await client.quit();
  });
  return { url, client, namespace, names: createNames(namespace) };
}
