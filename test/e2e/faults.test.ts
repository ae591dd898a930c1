import { expect, test } from 'vitest';
import {
  countByOutcome,
  createWorld,
  expectExit,
  ledgerAndTruth,
  readLedger,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
} from './support.ts';

test('lines that fail in each of their attempts end in the error file with the last error', async () => {
  const error = { message: 'The model has crashed', type: 'server_error', code: 'model_crashed' };
  const world = await createWorld({
    scenario: { faults: [{ kind: 'status', status: 500, body: { error }, models: ['pixtral-12b'] }] },
  });
  const failing = 6;
  const ids = writeInput(world, { count: 120, model: (index) => (index % 20 === 3 ? 'pixtral-12b' : 'fast') });
  const ended = await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--attempts', '2', '--json']);
  expectExit(ended, 1);
  expect(summaryOf(ended)).toMatchObject({ status: 'completed', counts: { completed: 114, failed: failing } });

  const { errors } = readResults(world, ids);
  expect(errors).toHaveLength(failing);
  for (const line of errors) {
    expect(line.response).toMatchObject({ status_code: 500, body: { error } });
    expect(line.error).toMatchObject({ code: 'model_crashed', message: 'The model has crashed' });
  }
  expect(readManifest(world).errorCodes).toEqual({ model_crashed: failing });
  expect(countByOutcome(readLedger(world))).toEqual({ completed: 114, failed: 2 * failing });
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('every kind of broken answer is tried again until there is a whole one', async () => {
  // Not billed, so that the provider's money and the ledger's can be compared.
  const fault = { rate: 0.02, billed: false } as const;
  const world = await createWorld({
    scenario: {
      faults: [
        { ...fault, kind: 'status', status: 500 },
        { ...fault, kind: 'status', status: 503 },
        { ...fault, kind: 'status', status: 529 },
        { ...fault, kind: 'reset' },
        { ...fault, kind: 'cut_body' },
        { ...fault, kind: 'html_502' },
        { ...fault, kind: 'garbage' },
        { ...fault, kind: 'error_200' },
        { ...fault, kind: 'empty_200' },
      ],
    },
  });
  const ids = writeInput(world, { count: 250 });
  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--attempts', '20']), 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const truth = world.truth();
  expect(Object.keys(truth.faults).toSorted()).toEqual([
    'cut_body',
    'empty_200',
    'error_200',
    'garbage',
    'html_502',
    'reset',
    'status',
  ]);
  const failed = Object.values(truth.faults).reduce((sum, times) => sum + times, 0);
  expect(countByOutcome(readLedger(world))).toEqual({ completed: 250, failed });
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});
