/**
 * A process: nightshift's producer alone, from a file into the queue of a batch that nobody works on, with a window as
 * large as the file. Tells its parent how long that took.
 */
import { createQueue, enqueue } from '../../jobs/completion.ts';
import { createTurns } from '../../jobs/turns.ts';
import { openInput } from '../../src/batch/input.ts';
import { loadBatch, createBatch, newBatchId } from '../../src/batch/batch.ts';
import { createProducer, defaultWindow } from '../../src/batch/producer.ts';
import { createNotices } from '../../src/cli/notices.ts';
import { openRedis } from '../../src/redis/connect.ts';
import { createNames } from '../../src/redis/names.ts';

const { input: file, redisUrl, dir, lines } = JSON.parse(process.argv[2] ?? '') as EnqueueTask;

export type EnqueueTask = { input: string; redisUrl: string; dir: string; lines: number };

const log = createNotices(undefined);
await using redis = await openRedis({ url: redisUrl, dataDir: dir, log });
const names = createNames('bench');
const queue = createQueue(redis.connectionOptions, names);
const input = await openInput(file, { spoolDir: dir });
const batchId = newBatchId();
const nowhere = { outputFile: '', errorFile: '', manifestFile: '' };
await createBatch(redis.client, names, batchId, {
  ...nowhere,
  inputFile: file,
  inputSha256: '',
  inputMark: '',
  ledgerId: 'bench',
  name: 'bench',
  total: lines,
  options: { model: null, attempts: 5, deadlineMs: 1e9, skipInvalid: false, pinModels: false, ordered: false },
  budgetNanoUsd: null,
});
const batch = await loadBatch(redis.client, names, batchId);
if (!batch) throw new Error(`${batchId} is gone`);

const turns = createTurns(redis.client, names, queue, 'normal');
const enough = new AbortController();
let enqueued = 0;
const startedAt = performance.now();
const producer = createProducer({
  redis: redis.client,
  names,
  batch,
  input,
  log,
  window: { ...defaultWindow, lines: Infinity, bytes: Infinity },
  isLost: () => Promise.resolve(false),
  async enqueue(chunks) {
    const jobs = chunks.map(({ firstLine, text }) => ({ batchId, firstLine, text }));
    await enqueue(queue, jobs, await turns.take(chunks.map(({ undoneCount }) => undoneCount)));
    for (const { text } of jobs) enqueued += text.split('\n').length;
    if (enqueued < lines) return;
    process.send?.({ type: 'enqueued', ms: performance.now() - startedAt, enqueued });
    enough.abort();
  },
});
await producer.run(enough.signal);
await queue.close();
