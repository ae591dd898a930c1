/** A batch whose files were moved away, as messages advise to begin anew: their places belong to the next one. */
import { mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { waitFor } from '../support/wait.ts';
import { createWorld, endOf, expectExit, readManifest, readResults, writeInput, type World } from './support.ts';

const run = ['run', 'in.jsonl', '--out', 'out', '--concurrency', '5'];
const suffixes = ['output.jsonl', 'errors.jsonl', 'manifest.json'];

/** Once `isFar` holds of it. Returns its id. */
async function interrupted(world: World, args: string[], isFar: () => boolean): Promise<string> {
  const running = world.start(args);
  await waitFor(isFar, { timeoutMs: 25_000, what: 'the batch is so far' });
  running.child.kill('SIGINT');
  expectExit(await endOf(running), 130);
  return readManifest(world).batchId;
}

test('cancelling the older of two batches at one place touches nothing of the newer', async () => {
  const world = await createWorld();
  const ids = writeInput(world, { count: 120 });
  const size = () => statSync(world.file('out/in.output.jsonl'), { throwIfNoEntry: false })?.size ?? -1;
  const older = await interrupted(world, [...run, '--no-worker'], () => size() === 0);
  mkdirSync(world.file('away'));
  for (const suffix of suffixes) renameSync(world.file(`out/in.${suffix}`), world.file(`away/in.${suffix}`));
  const newer = await interrupted(world, run, () => size() > 0);
  expect(newer).not.toBe(older);
  const files = () => suffixes.map((suffix) => readFileSync(world.file(`out/in.${suffix}`), 'utf8'));
  const before = files();

  const cancelled = await world.nightshift(['cancel', older]);
  expect(files()).toEqual(before);
  expectExit(cancelled, 2);
  expect(cancelled.stderr).toContain(`in.manifest.json belongs to ${newer}`);
  expectExit(await world.nightshift(run), 0);
  expect(readResults(world, ids).errors).toEqual([]);

  // With its own files in place it is cancelled after all.
  for (const suffix of suffixes) renameSync(world.file(`away/in.${suffix}`), world.file(`out/in.${suffix}`));
  expectExit(await world.nightshift(['cancel', older]), 0);
  expect(readManifest(world)).toMatchObject({ batchId: older, status: 'cancelled' });
  readResults(world, ids);
});
