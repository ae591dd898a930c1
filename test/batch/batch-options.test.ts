import { expect, test } from 'vitest';
import { createBatch, loadBatch } from '../../src/batch/batch.ts';
import { describeKept } from '../../src/batch/kept-options.ts';
import { askForCsv } from '../../src/batch/setup.ts';
import { testRedis } from '../support/redis.ts';

const redis = testRedis();

const options = { model: null, attempts: 3, deadlineMs: 1000, skipInvalid: false, pinModels: false, ordered: true };
const files = { inputFile: '/in', outputFile: '/out', errorFile: '/errors', manifestFile: '/manifest' };
const batch = {
  ...files,
  name: 'X',
  options,
  inputSha256: 'a',
  inputMark: 'b',
  total: 1,
  budgetNanoUsd: null,
  ledgerId: 'ledger',
};

test('a batch that was begun before there were tables is one without', async () => {
  await createBatch(redis.client, redis.names, 'batch_old', batch);
  const old = await loadBatch(redis.client, redis.names, 'batch_old');
  expect(old?.options).toMatchObject({ ...options, csv: false, rows: null });
  if (!old) return;
  await askForCsv(redis.client, redis.names, old);
  const now = await loadBatch(redis.client, redis.names, 'batch_old');
  expect(now?.options).toMatchObject({ ...options, csv: true, rows: null });
});

test('options that a batch does not take over are named as they stay', async () => {
  await createBatch(redis.client, redis.names, 'batch_kept', batch);
  const begun = await loadBatch(redis.client, redis.names, 'batch_kept');
  if (!begun) throw new Error('there is no batch');
  expect(describeKept(begun.options, options)).toBeNull();
  const asked = { ...options, model: 'fast', attempts: 9, ordered: false, priority: 'high' as const, stream: true };
  expect(describeKept(begun.options, asked)).toBe(
    'without --model, with --attempts 3, without --stream, with --ordered, with --priority normal',
  );
});
