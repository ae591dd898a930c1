/**
 * The producer: streams the input file into the queue, never more than a window ahead of the collector, so that memory
 * here and in Redis does not grow with the file.
 *
 * Its checkpoint is a low-water mark: everything before it is done. It moves when the oldest chunk's done bits are all
 * set. A line that cannot end for hours (it waits for an approval) holds up the mark, and nothing else: what is done
 * behind it takes no room (open-chunks.ts). A resumed producer starts there and enqueues again whatever is not done; chunks that are still queued are
 * recognised by their job id, lines that are done by their bit. So there is nothing to lose between an enqueue and a
 * checkpoint, and a queue that lost a job is mended by the sweep. Chunks that are done whole are not enqueued: of a
 * batch that is tried again most lines are.
 */
import assert from 'node:assert/strict';
import type { Redis } from '../redis/client.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Names } from '../redis/names.ts';
import type { BatchRecord } from './batch.ts';
import { readDoneBits } from './done-bits.ts';
import type { InputFile } from './input.ts';
import { readChunks, type Chunk } from './lines.ts';
import { createOpenChunks, lineBehind, type OpenChunk, type Place } from './open-chunks.ts';

/** `undoneCount`: of its lines, those that are to be sent. The others are in the text, and are done. */
export type ChunkToSend = Pick<Chunk, 'firstLine' | 'text'> & { undoneCount: number };
export type EnqueueChunks = (chunks: ChunkToSend[]) => Promise<void>;

export type Producer = {
  /** Runs until every line is enqueued and done, or `signal` aborts. Errors: what reading the input throws. */
  run: (signal: AbortSignal) => Promise<void>;
  /** The collector tells how many lines of the batch the files hold now. */
  collected: (lines: number) => void;
};

export type ProducerOptions = {
  redis: Redis;
  names: Names;
  batch: BatchRecord;
  input: InputFile;
  enqueue: EnqueueChunks;
  /** Is this chunk's job gone from the queue? */
  isLost: (firstLine: number) => Promise<boolean>;
  log: Log;
  window?: ProducerWindow;
  /** A job missing from the queue is looked for this often; it takes a crash at an unlucky moment to lose one. */
  sweepEveryMs?: number;
};

export type ProducerWindow = {
  /** Lines between the file and the collector: queued, in flight or uncollected. */
  lines: number;
  /** Of the chunks that are not done: their requests wait in the queue. */
  bytes: number;
  linesPerChunk: number;
  bytesPerChunk: number;
};

export const defaultWindow: ProducerWindow = {
  lines: 10_000,
  bytes: 64 * 1024 * 1024,
  linesPerChunk: 25,
  bytesPerChunk: 256 * 1024,
};

const chunksPerEnqueue = 20;
const tickMs = 100;
const checkpointEveryMs = 500;
const defaultSweepEveryMs = 5000;
/** A job that vanishes more often than crashes explain would vanish for ever. */
const mostLosses = 10;
const chunksPerSweep = 100;

export function createProducer(options: ProducerOptions): Producer {
  const { redis, names, batch, input, log } = options;
  const window = options.window ?? defaultWindow;
  const sweepEveryMs = options.sweepEveryMs ?? defaultSweepEveryMs;
  const open = createOpenChunks();
  /** Requests that were not done when they were read; and what had ended before that the collector will tell of. */
  let enqueued = 0;
  const endedBefore = batch.counts.completed + batch.counts.failed;
  let lowRequests = batch.lowWater.requests;
  let collected = batch.collected.lines;
  let wake: () => void = () => {};

  /** Waits for news from the collector or the next tick. */
  function pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, tickMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Those of the chunks that are done. They lie close together: their bits are read in one go. */
  async function doneOf(chunks: OpenChunk[]): Promise<OpenChunk[]> {
    const done = await readDone(chunks);
    return chunks.filter((chunk) => countDone(done, chunk) === chunk.requestCount);
  }

  function readDone(chunks: Place[]): Promise<(line: number) => boolean> {
    const [first, last] = [chunks[0], chunks.at(-1)];
    assert(first && last, 'some chunks are asked for');
    const range = { firstLine: first.firstLine, lineCount: lineBehind(last) - first.firstLine };
    return readDoneBits(redis, names.done(batch.batchId), range);
  }

  let lookedAt = performance.now();
  /** Makes room for what has been done meanwhile, and moves the low-water mark. */
  async function look(): Promise<void> {
    lookedAt = performance.now();
    const done = await Promise.all(open.nextStretches().map(doneOf));
    open.finish(done.flat());
    const head = open.takeDone();
    if (!head) return;
    lowRequests += head.requestCount;
    // Totals, not increments: a command that is sent again after a broken connection does no harm.
    const mark = { lowOffset: head.endOffset, lowLine: lineBehind(head), lowRequests };
    await redis.hset(names.batch(batch.batchId), mark);
  }

  let sweptAt = performance.now();
  async function sweep(): Promise<void> {
    if (performance.now() - sweptAt < sweepEveryMs) return;
    sweptAt = performance.now();
    for (const chunk of open.nextUndone(chunksPerSweep)) {
      // In this order: a job that ends between the two questions has set its bits by then.
      if (!(await options.isLost(chunk.firstLine))) continue;
      const undoneCount = chunk.requestCount - countDone(await readDone([chunk]), chunk);
      if (undoneCount === 0) continue;
      chunk.losses += 1;
      if (chunk.losses > mostLosses) throw lostTooOften(chunk);
      log.warn({ batchId: batch.batchId, line: chunk.firstLine }, 'the queue lost a job; enqueued again');
      const again = readChunks(input, { ...limits, fromOffset: chunk.offset, fromLine: chunk.firstLine });
      for await (const { firstLine, text } of again) {
        await enqueueUnchanged([{ firstLine, text, undoneCount }]);
        break;
      }
    }
  }

  /** Asked after the reading and before the enqueueing: what was read is what the batch was begun with. */
  async function enqueueUnchanged(chunks: ChunkToSend[]): Promise<void> {
    await input.assertUnchanged();
    await options.enqueue(chunks);
  }

  const limits = { maxLines: window.linesPerChunk, maxBytes: window.bytesPerChunk };
  /** Read, and not opened yet. */
  let held: Chunk[] = [];
  let heldRequests = 0;
  let heldBytes = 0;

  function hasRoom(): boolean {
    if (open.count() + held.length === 0) return true;
    const outstanding = endedBefore + enqueued + heldRequests - collected;
    return outstanding < window.lines && open.sizeBytes() + heldBytes < window.bytes;
  }

  async function flush(): Promise<void> {
    const chunks = held;
    [held, heldRequests, heldBytes] = [[], 0, 0];
    const undone = await openAll(chunks);
    if (undone.length > 0) await enqueueUnchanged(undone);
  }

  /** Returns those that have anything left to do. */
  async function openAll(chunks: Chunk[]): Promise<ChunkToSend[]> {
    if (chunks.length === 0) return [];
    const done = await readDone(chunks);
    return chunks.flatMap(({ text, ...place }) => {
      const undoneCount = place.requestCount - countDone(done, place);
      enqueued += undoneCount;
      open.add(place, undoneCount === 0);
      return undoneCount === 0 ? [] : [{ firstLine: place.firstLine, text, undoneCount }];
    });
  }

  async function run(signal: AbortSignal): Promise<void> {
    const { offset, line } = batch.lowWater;
    for await (const chunk of readChunks(input, { ...limits, fromOffset: offset, fromLine: line })) {
      if (signal.aborted) return;
      held.push(chunk);
      heldRequests += chunk.requestCount;
      heldBytes += chunk.endOffset - chunk.offset;
      if (held.length < chunksPerEnqueue && hasRoom()) continue;
      await flush();
      if (performance.now() - lookedAt > checkpointEveryMs) await look();
      while (!hasRoom()) {
        await pause();
        if (signal.aborted) return;
        if (!hasRoom()) await look();
        await sweep();
      }
    }
    await flush();
    while (open.count() > 0) {
      await look();
      await sweep();
      if (signal.aborted) return;
      if (open.count() > 0) await pause();
    }
  }

  return {
    run,
    collected(lines) {
      collected = lines;
      wake();
    },
  };
}

function countDone(done: (line: number) => boolean, { firstLine, lineCount }: Pick<Chunk, 'firstLine' | 'lineCount'>) {
  let count = 0;
  for (let line = firstLine; line < firstLine + lineCount; line += 1) if (done(line)) count += 1;
  return count;
}

function lostTooOften({ firstLine, lineCount }: Place): AppError {
  const lines = `lines ${firstLine} to ${firstLine + lineCount - 1}`;
  return new AppError(
    'redis',
    `the job of ${lines} ended ${mostLosses} times without finishing them: its workers fail, or Redis loses jobs; ` +
      'run the same command with --log-level info to see why; nothing done is lost',
  );
}
