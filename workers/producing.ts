/** The producer of a batch at work: it gives its chunks to the queue as jobs, in turn with other batches. */
import type { Queue } from 'bullmq';
import { enqueue, isLost, type CompletionPayload } from '../jobs/completion.ts';
import { createTurns } from '../jobs/turns.ts';
import type { BatchRecord } from '../src/batch/batch.ts';
import type { Lease } from '../src/batch/lease.ts';
import { createProducer, type Producer, type ProducerOptions } from '../src/batch/producer.ts';

/** `error`: what ended the producer before its time. */
export type Producing = { error: unknown; producer: Producer };

export function startProducing(
  of: Pick<ProducerOptions, 'redis' | 'names' | 'input' | 'log' | 'sweepEveryMs'> & Pick<Lease, 'assertOurs'>,
  batch: BatchRecord,
  queue: Queue<CompletionPayload>,
  signal: AbortSignal,
): Producing {
  const { batchId } = batch;
  const turns = createTurns(of.redis, of.names, queue, batch.options.priority);
  const producer = createProducer({
    ...of,
    batch,
    async enqueue(chunks) {
      const payloads = chunks.map(({ firstLine, text }) => ({ batchId, firstLine, text }));
      await enqueue(queue, payloads, await turns.take(chunks.map(({ undoneCount }) => undoneCount)));
    },
    async isLost(firstLine) {
      if (!(await isLost(queue, { batchId, firstLine }))) return false;
      // Whoever took the batch over may have seen to it.
      await of.assertOurs();
      return true;
    },
  });
  const producing: Producing = { error: null, producer };
  producer.run(signal).catch((error: unknown) => (producing.error = error));
  return producing;
}
