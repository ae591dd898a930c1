/** Lines that have ended while nobody collects: their answers are in Redis only, and paid. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { findBatch } from '../../src/batch/find.ts';
import { outputLine } from '../../src/batch/result-line.ts';
import { lineRef } from '../../src/keys/intent.ts';
import { createSettle } from '../../src/keys/settle.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { createWorld, expectExit, readManifest, readResults, summaryOf, writeInput, type World } from './support.ts';

const { url, client, names, namespace } = testRedis();

/** A run without a worker that was killed, and workers elsewhere that answered every line after that. */
async function answeredButUncollected(world: World, ids: string[]): Promise<string> {
  const running = world.start(['run', 'in.jsonl', '--out', 'out', '--no-worker']);
  const begun = await waitFor(
    async () => {
      const batch = await findBatch(client, names, 'in').catch(() => null);
      return batch?.status === 'in_progress' ? batch : null;
    },
    { timeoutMs: 25_000, what: 'the batch is set up' },
  );
  await running.kill('SIGKILL');
  const { batchId } = begun;
  const settle = createSettle({ redis: client, names });
  const body = JSON.stringify({ choices: [{ message: { content: 'a'.repeat(20_000) } }] });
  const ends = ids.map((id, index) => {
    const text = outputLine(`${lineRef(batchId, index + 1)}.x`, id, { status: 200, requestId: null, body });
    const end = { to: 'output' as const, text, errorCode: null, inputTokens: 1, outputTokens: 1 };
    return settle({ batchId, line: index + 1, call: null, end });
  });
  await Promise.all(ends);
  return batchId;
}

/** With a limit on the size of any file that it writes, as a disk that is full. */
function onFullDisk(world: World, args: string[]): Promise<{ code: number; stderr: string }> {
  const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');
  const limited = ['-c', 'ulimit -f 800; exec "$@"', 'sh', process.execPath, command, ...args];
  const env = { ...process.env, REDIS_URL: url };
  return new Promise((resolve) => {
    const child = execFile('sh', limited, { cwd: world.dir, env }, (_, __, stderr) =>
      resolve({ code: child.exitCode ?? -1, stderr }),
    );
  });
}

test('a cancel that fails while it collects loses no answer: the next one writes them all', async () => {
  const world = await createWorld({ redisUrl: url, config: { namespace } });
  const ids = writeInput(world, { count: 60 });
  const batchId = await answeredButUncollected(world, ids);

  const failed = await onFullDisk(world, ['cancel', 'in']);
  expect(failed.stderr).toMatch(/output\.jsonl: .*ulimit -f/);
  expect(failed.code).toBe(5);
  // What a second one finds: every line has ended, and the files do not hold them all.
  expect(readManifest(world)).toMatchObject({ status: 'cancelling', counts: { completed: 60 } });
  expect(await client.xlen(names.results(batchId))).toBeGreaterThan(0);

  const cancelled = await world.nightshift(['cancel', 'in', '--json']);
  expectExit(cancelled, 0);
  const counts = { total: 60, completed: 60, failed: 0 };
  expect(summaryOf(cancelled)).toMatchObject({ status: 'cancelled', counts });
  expect(readResults(world, ids).output).toHaveLength(60);
  expect(readManifest(world)).toMatchObject({ status: 'cancelled', counts, files: { lines: 60 } });
  expect(world.truth().totals.calls).toBe(0);
});
