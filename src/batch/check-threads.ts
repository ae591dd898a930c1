/**
 * Checks the blocks of an input in several threads at once and reports on them in the order of the file, as one thread
 * would. This thread reads: it cuts the lines, counts them and takes the digest, a small part of the work; while the
 * others have enough to do it checks blocks, too. Memory is bounded by the blocks under way.
 */
import { extname } from 'node:path';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { BlockCheck, BlockReport, CheckTask } from './check-block.ts';
import type { BlockMessage, ReportMessage } from './check-thread.ts';
import type { InputFile } from './input.ts';
import type { LineBlock } from './lines.ts';

export type CheckThreads = AsyncDisposable & {
  /** Takes what it needs of the block; resolves when there is room for the next one. */
  add: (block: LineBlock) => Promise<void>;
  /** Resolves when all reports are out. */
  finish: () => Promise<void>;
};

/** More would wait for the one that reads. */
const mostThreads = 4;
/** Starting threads takes as long as one needs for so much. */
const leastBytes = 24 * 1024 * 1024;
/** JSON shrinks to about this share. */
const compressedShare = 1 / 4;
/** Per thread: one that it works on, and the next. */
const blocksPerThread = 2;
/** Reports held back for one that is late; a few kilobytes each. */
const mostUnderWay = 64;
/** Of each thread's heap: short-lived strings are most of what it makes, and a line may be large. */
const resourceLimits = { maxYoungGenerationSizeMb: 8 };

/** How many threads, this one included, the file is worth. */
export function threadsFor({ sizeBytes, compressed }: Pick<InputFile, 'sizeBytes' | 'compressed'>): number {
  if (sizeBytes < leastBytes * (compressed ? compressedShare : 1)) return 1;
  return Math.min(mostThreads, availableParallelism());
}

type Place = Omit<LineBlock, 'bytes'>;

/** `checkHere` does what the threads do. Errors, of `add` and `finish`: what a thread or `onReport` threw. */
export function startCheckThreads(
  count: number,
  task: CheckTask,
  checkHere: BlockCheck,
  onReport: (report: BlockReport, place: Place) => void,
): CheckThreads {
  // Built or not, the thread's file lies beside this one.
  const file = new URL(`./check-thread${extname(import.meta.url)}`, import.meta.url);
  const threads = Array.from({ length: count - 1 }, () => {
    return { worker: new Worker(file, { workerData: task, execArgv: [], resourceLimits }), blocks: 0 };
  });
  const free: ArrayBuffer[] = [];
  const underWay: { place: Place; report: BlockReport | null }[] = [];
  const state: { reported: number; failure: unknown; wake: () => void } = {
    reported: 0,
    failure: null,
    wake: () => {},
  };
  const fail = (error: unknown) => {
    state.failure ??= error;
    state.wake();
  };

  for (const thread of threads) {
    thread.worker.on('error', fail);
    // Not by us: `terminate` is called when nobody waits any more.
    thread.worker.on('exit', (code) => fail(new Error(`a thread that checks lines ended with ${code}`)));
    thread.worker.on('message', ({ index, memory, report }: ReportMessage) => {
      thread.blocks -= 1;
      free.push(memory);
      const done = underWay[index - state.reported];
      if (done) done.report = report;
      try {
        passOn();
      } catch (error) {
        fail(error);
      }
      state.wake();
    });
  }

  function passOn(): void {
    for (let head = underWay[0]; head?.report; head = underWay[0]) {
      underWay.shift();
      state.reported += 1;
      onReport(head.report, head.place);
    }
  }

  async function untilFewerThan(blocks: number): Promise<void> {
    while (state.failure === null && underWay.length >= blocks) {
      const { promise, resolve } = Promise.withResolvers<void>();
      state.wake = resolve;
      await promise;
    }
    if (state.failure !== null) throw state.failure;
  }

  function send(to: (typeof threads)[number], bytes: Buffer, { firstLine, requestCount }: Place): void {
    const known = free.pop();
    const memory = known && known.byteLength >= bytes.length ? known : new ArrayBuffer(bytes.length);
    new Uint8Array(memory).set(bytes);
    const index = state.reported + underWay.length;
    const message: BlockMessage = { index, memory, length: bytes.length, firstLine, requestCount };
    to.worker.postMessage(message, [memory]);
    to.blocks += 1;
  }

  return {
    async add({ bytes, ...place }) {
      const idlest = threads.reduce((least, thread) => (thread.blocks < least.blocks ? thread : least));
      if (idlest.blocks < blocksPerThread) {
        send(idlest, bytes, place);
        underWay.push({ place, report: null });
      } else {
        underWay.push({ place, report: checkHere({ ...place, bytes }) });
        passOn();
      }
      await untilFewerThan(mostUnderWay);
    },
    finish: () => untilFewerThan(1),
    async [Symbol.asyncDispose]() {
      await Promise.all(threads.map(({ worker }) => worker.terminate()));
    },
  };
}
