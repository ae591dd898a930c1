/** A power cut: Redis comes back without its last second, the files are as they were synced. */
import { copyFileSync, existsSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createWorld, expectExit, readManifest, readResults, writeInput } from './support.ts';

test('a batch that was finished and put in order stays so, although Redis remembers half of it', async () => {
  const world = await createWorld({ windowMs: 3000, keys: [{ name: 'a', rpm: 100 }] });
  const ids = writeInput(world, { count: 160 });
  // Its first half, then a Ctrl-C: what Redis will remember.
  const running = world.start(['run', 'in.jsonl', '--out', 'out', '--ordered']);
  await world.untilCalls(60, running);
  await running.kill('SIGINT');
  const append = path.join(world.dir, '.nightshift', 'redis', 'appendonlydir');
  const files = existsSync(append) ? ['appendonly.aof.1.incr.aof'] : [];
  expect(files).not.toEqual([]);
  const remembered = path.join(world.dir, 'remembered');
  copyFileSync(path.join(append, files[0] as string), remembered);

  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--ordered']), 0);
  const { calls } = world.truth().totals;
  copyFileSync(remembered, path.join(append, files[0] as string));
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--ordered']), 0);

  const { output } = readResults(world, ids);
  expect(output.map(({ custom_id: id }) => id)).toEqual(ids);
  expect(world.truth().totals.calls).toBe(calls);
  expect(readManifest(world)).toMatchObject({ status: 'completed', counts: { total: 160, completed: 160 } });
});
