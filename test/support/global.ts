/** One real redis-server for the whole suite; test/support/redis.ts gives each test file its own namespace in it. */
import type { TestProject } from 'vitest/node';
import { startRedisServer } from './redis-server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    redisUrl: string;
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startRedisServer();
  project.provide('redisUrl', server.url);
  // For processes that tests start.
  process.env['NIGHTSHIFT_TEST_REDIS_URL'] = server.url;
  // What the person has set is not for tests.
  delete process.env['REDIS_URL'];
  return () => server.stop();
}
