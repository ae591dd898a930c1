/**
 * The end of a batch that is cancelled, for whoever holds its lease: waits until its calls in flight have ended, whose
 * answers are kept, then ends every line that is left with the error `cancelled`. Acquire.lua grants such a batch
 * nothing more, so the calls can only become fewer. A crash at any moment leaves lines that the next holder ends.
 * Memory does not grow with the file: lines are read, ended and collected some at a time.
 */
import type { BatchRecord } from '../src/batch/batch.ts';
import type { Collector } from '../src/batch/collector.ts';
import { readDoneBits } from '../src/batch/done-bits.ts';
import type { InputFile } from '../src/batch/input.ts';
import { eachLine, readChunks, type Chunk } from '../src/batch/lines.ts';
import { parseRequest } from '../src/batch/request.ts';
import { errorLine } from '../src/batch/result-line.ts';
import { AppError } from '../src/errors.ts';
import { lineRef, parseIntent, type Intent } from '../src/keys/intent.ts';
import { reapIntent } from '../src/keys/reap.ts';
import { createSettle, type Settle } from '../src/keys/settle.ts';
import type { Log } from '../src/log.ts';
import type { Redis } from '../src/redis/client.ts';
import type { Names } from '../src/redis/names.ts';
import { createAbsence } from './absence.ts';
import { isAlive } from './roster.ts';

export type Cancelling = {
  redis: Redis;
  names: Names;
  log: Log;
  batch: BatchRecord;
  input: InputFile;
  collector: Collector;
  /** Ctrl-C: leaves the rest to the next command. */
  interrupted: AbortSignal;
};

const lookEveryMs = 200;
const linesPerChunk = 1000;
const bytesPerChunk = 1024 * 1024;

/** Errors: `input` when the file is not there or has changed; what the collector throws; `interrupted`. */
export async function endCancelled(cancelling: Cancelling): Promise<void> {
  const { redis, names, batch, input, collector } = cancelling;
  const settle = createSettle({ redis, names });
  await untilNothingInFlight(cancelling, settle);
  const { offset, line } = batch.lowWater;
  const limits = { maxLines: linesPerChunk, maxBytes: bytesPerChunk };
  for await (const chunk of readChunks(input, { ...limits, fromOffset: offset, fromLine: line })) {
    if (cancelling.interrupted.aborted) throw new AppError('interrupted', 'interrupted');
    await input.assertUnchanged();
    // What the chunk before has left in the stream is written meanwhile.
    await Promise.all([endLines(cancelling, settle, chunk), collectAll(collector)]);
  }
  await collectAll(collector);
}

async function collectAll(collector: Collector): Promise<void> {
  while ((await collector.collectOnce(0)) > 0);
}

async function endLines({ redis, names, batch }: Cancelling, settle: Settle, chunk: Chunk): Promise<void> {
  const isDone = await readDoneBits(redis, names.done(batch.batchId), chunk);
  const ends: Promise<unknown>[] = [];
  eachLine(chunk, (text, line) => {
    if (!isDone(line)) ends.push(settle({ batchId: batch.batchId, line, call: null, end: endOf(batch, text, line) }));
  });
  await Promise.all(ends);
}

function endOf({ batchId, options }: BatchRecord, text: string, line: number) {
  const parsed = parseRequest(text, line, { model: options.model });
  const customId = parsed.ok ? parsed.request.customId : parsed.problem.customId;
  const error = { code: 'cancelled', message: 'the batch was cancelled before this line was answered', line };
  // No provider's words are in it, so there is no secret to take out.
  const result = errorLine(lineRef(batchId, line), customId, error, null, (unchanged) => unchanged);
  return { to: 'error' as const, text: result, errorCode: error.code, inputTokens: null, outputTokens: null };
}

/** Calls of living workers are waited for; those of dead ones are given up, as their lines could not end otherwise. */
async function untilNothingInFlight(cancelling: Cancelling, settle: Settle): Promise<void> {
  const { redis, names, log, batch, collector, interrupted } = cancelling;
  const absence = createAbsence(redis);
  for (let hasSaid = false; ; hasSaid = true) {
    const intents = await intentsOf(redis, names, batch.batchId);
    if (intents.length === 0) return;
    if (interrupted.aborted) throw new AppError('interrupted', 'interrupted');
    if (!hasSaid) log.info({ batchId: batch.batchId, calls: intents.length }, 'cancelling: calls in flight may end');
    const living = new Map<string, boolean>();
    for (const { workerId } of intents) {
      if (!living.has(workerId)) living.set(workerId, await isAlive(redis, names, workerId, absence));
    }
    for (const intent of intents) {
      if (!living.get(intent.workerId)) await reapIntent({ redis, names, settle, log }, intent);
    }
    await collector.collectOnce(lookEveryMs);
  }
}

/** One whole pass: what is in flight all the while is surely seen. */
async function intentsOf(redis: Redis, names: Names, batchId: string): Promise<Intent[]> {
  const intents: Intent[] = [];
  let cursor = '0';
  do {
    const [next, fields] = await redis.hscan(
      names.inflight,
      cursor,
      'MATCH',
      lineRef(batchId, 0).replace(/0$/, '*'),
      'COUNT',
      500,
    );
    cursor = next;
    for (let index = 0; index + 1 < fields.length; index += 2) {
      intents.push(parseIntent(fields[index] as string, fields[index + 1] as string));
    }
  } while (cursor !== '0');
  return intents;
}
