/** A batch that runs, of which only Redis knows, for tests that hand its lines to a worker by hand. */
import { createBatch, loadBatch, moveBatch, newBatchId, type BatchRecord } from '../../src/batch/batch.ts';
import type { Redis } from '../../src/redis/client.ts';
import type { Names } from '../../src/redis/names.ts';

export async function startBatch(
  client: Redis,
  names: Names,
  { total = 1, deadlineMs = 3_600_000 } = {},
): Promise<BatchRecord> {
  const batchId = newBatchId();
  await createBatch(client, names, batchId, {
    name: 'in',
    inputFile: '/in',
    outputFile: '/out',
    errorFile: '/errors',
    manifestFile: '/manifest',
    inputSha256: '',
    inputMark: '',
    ledgerId: 'ledger',
    total,
    options: { model: 'fast', attempts: 5, deadlineMs, skipInvalid: false, pinModels: false, ordered: false },
    budgetNanoUsd: null,
  });
  await moveBatch(client, names, batchId, { from: ['validating'], to: 'in_progress' });
  return (await loadBatch(client, names, batchId)) as BatchRecord;
}
