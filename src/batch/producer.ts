/**
 * The producer: streams the input file into the queue, never more than a window ahead of the collector, so that memory
 * here and in Redis does not grow with the file.
 *
 * Its checkpoint is a low-water mark: everything before it is done. It moves when the oldest chunk's done bits are all
 * set. A resumed producer starts there and enqueues again whatever is not done; chunks that are still queued are
 * recognised by their job id, lines that are done by their bit. So there is nothing to lose between an enqueue and a
 * checkpoint, and a queue that lost a job is mended by the sweep. Chunks that are done whole are not enqueued: of a
 * batch that is tried again most lines are.
 */
import type { Redis } from '../redis/client.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Names } from '../redis/names.ts';
import type { BatchRecord } from './batch.ts';
import { readDoneBits } from './done-bits.ts';
import type { InputFile } from './input.ts';
import { readChunks, type Chunk } from './lines.ts';

export type EnqueueChunks = (chunks: Pick<Chunk, 'firstLine' | 'text'>[]) => Promise<void>;

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
  /** Their bytes as requests. */
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
const chunksPerSweep = 50;

type Open = Pick<Chunk, 'firstLine' | 'lineCount' | 'requestCount' | 'offset' | 'endOffset'> & {
  bytes: number;
  losses: number;
  isDone: boolean;
};

export function createProducer(options: ProducerOptions): Producer {
  const { redis, names, batch, input, log } = options;
  const window = options.window ?? defaultWindow;
  const sweepEveryMs = options.sweepEveryMs ?? defaultSweepEveryMs;
  const open: Open[] = [];
  let openBytes = 0;
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

  async function isDone(chunk: Open): Promise<boolean> {
    return (
      chunk.isDone ||
      countDone(await readDoneBits(redis, names.done(batch.batchId), chunk), chunk) === chunk.requestCount
    );
  }

  let movedAt = performance.now();
  async function moveLowWater(): Promise<void> {
    movedAt = performance.now();
    let last: Open | undefined;
    for (let head = open[0]; head && (await isDone(head)); head = open[0]) {
      open.shift();
      openBytes -= head.bytes;
      lowRequests += head.requestCount;
      last = head;
    }
    if (!last) return;
    // Totals, not increments: a command that is sent again after a broken connection does no harm.
    const lowLine = last.firstLine + last.lineCount;
    await redis.hset(names.batch(batch.batchId), { lowOffset: last.endOffset, lowLine, lowRequests });
  }

  let sweptAt = performance.now();
  async function sweep(): Promise<void> {
    if (performance.now() - sweptAt < sweepEveryMs) return;
    sweptAt = performance.now();
    for (const chunk of open.slice(0, chunksPerSweep)) {
      // In this order: a job that ends between the two questions has set its bits by then.
      if (chunk.isDone || !(await options.isLost(chunk.firstLine)) || (await isDone(chunk))) continue;
      chunk.losses += 1;
      if (chunk.losses > mostLosses) throw lostTooOften(chunk);
      log.warn({ batchId: batch.batchId, line: chunk.firstLine }, 'the queue lost a job; enqueued again');
      const again = readChunks(input, { ...limits, fromOffset: chunk.offset, fromLine: chunk.firstLine });
      for await (const { firstLine, text } of again) {
        await enqueueUnchanged([{ firstLine, text }]);
        break;
      }
    }
  }

  /** Asked after the reading and before the enqueueing: what was read is what the batch was begun with. */
  async function enqueueUnchanged(chunks: Parameters<EnqueueChunks>[0]): Promise<void> {
    await input.assertUnchanged();
    await options.enqueue(chunks);
  }

  const limits = { maxLines: window.linesPerChunk, maxBytes: window.bytesPerChunk };
  /** Read, and not opened yet. */
  let held: Chunk[] = [];
  let heldRequests = 0;
  let heldBytes = 0;

  function hasRoom(): boolean {
    if (open.length + held.length === 0) return true;
    const outstanding = endedBefore + enqueued + heldRequests - collected;
    return outstanding < window.lines && openBytes + heldBytes < window.bytes;
  }

  async function flush(): Promise<void> {
    const chunks = held;
    [held, heldRequests, heldBytes] = [[], 0, 0];
    const undone = await openAll(chunks);
    if (undone.length > 0) await enqueueUnchanged(undone);
  }

  /** Returns those that have anything left to do. */
  async function openAll(chunks: Chunk[]): Promise<Chunk[]> {
    const [first, last] = [chunks[0], chunks.at(-1)];
    if (!first || !last) return [];
    const range = { firstLine: first.firstLine, lineCount: last.firstLine + last.lineCount - first.firstLine };
    const done = await readDoneBits(redis, names.done(batch.batchId), range);
    return chunks.filter((chunk) => {
      const doneCount = countDone(done, chunk);
      const isWhole = doneCount === chunk.requestCount;
      enqueued += chunk.requestCount - doneCount;
      const before = open.at(-1);
      if (isWhole && before?.isDone) {
        // One for all of them: only what is not done yet is to count here.
        before.lineCount += chunk.lineCount;
        before.requestCount += chunk.requestCount;
        before.endOffset = chunk.endOffset;
        return false;
      }
      const bytes = isWhole ? 0 : chunk.endOffset - chunk.offset;
      const { text: _, ...place } = chunk;
      open.push({ ...place, bytes, losses: 0, isDone: isWhole });
      openBytes += bytes;
      return !isWhole;
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
      if (performance.now() - movedAt > checkpointEveryMs) await moveLowWater();
      while (!hasRoom()) {
        await pause();
        if (signal.aborted) return;
        await moveLowWater();
        await sweep();
      }
    }
    await flush();
    while (open.length > 0) {
      await moveLowWater();
      await sweep();
      if (signal.aborted) return;
      if (open.length > 0) await pause();
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

function lostTooOften({ firstLine, lineCount }: Open): AppError {
  const lines = `lines ${firstLine} to ${firstLine + lineCount - 1}`;
  return new AppError(
    'redis',
    `the job of ${lines} ended ${mostLosses} times without finishing them: its workers fail, or Redis loses jobs; ` +
      'run the same command with --log-level info to see why; nothing done is lost',
  );
}
