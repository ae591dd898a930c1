import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/leaks.ts'],
    globalSetup: ['test/support/global.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Two files at a time: the suite runs on two cores beside the Redis and simulator processes it starts.
    maxWorkers: 2,
  },
});
