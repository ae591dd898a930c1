/** The producer of a batch at work: it gives its chunks to the queue as jobs, in turn with other batches. */
import type { Queue } from 'bullmq';
import { enqueue, isLost, type CompletionPayload } from '../jobs/completion.ts';
import { createTurns } from '../jobs/turns.ts';
import type { BatchRecord } from '../src/batch/batch.ts';
import { createProducer, type Producer, type ProducerOptions } from '../src/batch/producer.ts';

/** `error`: what ended the producer before its time. */
export type Producing = { error: unknown; producer: Producer };

export function startProducing(
  of: Pick<ProducerOptions, 'redis' | 'names' | 'input' | 'log'>,
  batch: BatchRecord,
  queue: Queue<CompletionPayload>,
  signal: AbortSignal,
): Producing {
  const { batchId } = batch;
  const turns = createTurns(of.redis, of.names, queue, batch.options.priority);
  const producer = createProducer({
    ...of,
    batch,
    enqueue: (chunks) =>
      enqueue(
        queue,
        chunks.map(({ firstLine, text }) => ({ batchId, firstLine, text })),
        turns,
      ),
    isLost: (firstLine) => isLost(queue, { batchId, firstLine }),
  });
  const producing: Producing = { error: null, producer };
  producer.run(signal).catch((error: unknown) => (producing.error = error));
  return producing;
}
