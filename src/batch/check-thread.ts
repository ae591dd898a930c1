/** The inside of a thread of check-threads.ts: blocks of bytes come in, reports go out, with the block's memory. */
import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { createBlockCheck, inspectOn, type BlockReport, type CheckTask } from './check-block.ts';

export type BlockMessage = {
  index: number;
  /** Holds the lines in its first `length` bytes; given back with the report. */
  memory: ArrayBuffer;
  length: number;
  firstLine: number;
  requestCount: number;
};

export type ReportMessage = { index: number; memory: ArrayBuffer; report: BlockReport };

assert(parentPort, 'check-thread.ts is for a thread');
const port = parentPort;
const task = workerData as CheckTask;
const check = createBlockCheck(task, inspectOn(task.grounds));

port.on('message', ({ index, memory, length, firstLine, requestCount }: BlockMessage) => {
  const report = check({ bytes: Buffer.from(memory, 0, length), firstLine, requestCount });
  port.postMessage({ index, memory, report } satisfies ReportMessage, [memory, report.hashes.buffer]);
});
