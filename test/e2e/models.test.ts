import { expect, test } from 'vitest';
import { createWorld, expectExit, ledgerAndTruth, readManifest, readResults, writeInput } from './support.ts';

const before = 'qwen3-30b-instruct';
const after = 'deepseek-v4-pro';

test('an alias moves and its model disappears in mid-run: every line is answered, by one model or the other', async () => {
  const world = await createWorld({
    scenario: {
      events: [
        { afterCalls: 120, do: { change: 'move_alias', alias: 'fast', to: after } },
        { afterCalls: 120, do: { change: 'remove_model', model: before } },
      ],
    },
  });
  const ids = writeInput(world, { count: 300 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--concurrency', '20']), 0);

  expect(readResults(world, ids).errors).toEqual([]);
  expect(world.truth().events.failed).toEqual([]);
  const { models, attempts } = readManifest(world);
  const answered = Object.fromEntries(models.map(({ resolved, completed }) => [resolved, completed]));
  expect(models.every(({ requested }) => requested === 'fast')).toBe(true);
  expect(answered[before]).toBe(world.truth().models[before]?.billed);
  expect(answered[after]).toBe(world.truth().models[after]?.billed);
  // Whoever was in flight when it went, not every line that came after.
  expect(attempts.byOutcome['model_unavailable']).toBeGreaterThan(0);
  expect(attempts.byOutcome['model_unavailable']).toBeLessThanOrEqual(60);
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('an alias that moves while its model stays is followed within the age of a listing', async () => {
  const world = await createWorld({
    config: { modelsMaxAgeMs: 200 },
    scenario: { latencyMs: 100, events: [{ afterCalls: 40, do: { change: 'move_alias', alias: 'fast', to: after } }] },
  });
  const ids = writeInput(world, { count: 90 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--concurrency', '5']), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const { models, attempts } = readManifest(world);
  expect(models.map(({ resolved }) => resolved).toSorted()).toEqual([after, before]);
  expect(attempts.byOutcome).toEqual({ completed: 90 });
});

test('--pin-models keeps the model an alias meant at first', async () => {
  const world = await createWorld({
    config: { modelsMaxAgeMs: 200 },
    scenario: { latencyMs: 100, events: [{ afterCalls: 40, do: { change: 'move_alias', alias: 'fast', to: after } }] },
  });
  const ids = writeInput(world, { count: 90 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--concurrency', '5', '--pin-models']), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  expect(readManifest(world).models).toEqual([{ requested: 'fast', resolved: before, completed: 90 }]);
});
