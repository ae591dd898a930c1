import { rename, truncate, writeFile } from 'node:fs/promises';
import * as fc from 'fast-check';
import { describe, expect, it, onTestFinished, test } from 'vitest';
import { createQueue, enqueue, isLost, jobIdOf } from '../../jobs/completion.ts';
import { openInput, type InputFile } from '../../src/batch/input.ts';
import { createProducer, type Producer, type ProducerOptions, type ProducerWindow } from '../../src/batch/producer.ts';
import { createLog } from '../../src/log.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { createBatchWorld, testDirectory, type BatchWorld } from './world.ts';

const redis = testRedis();
const { client, names } = redis;
const at = testDirectory();
const wide: ProducerWindow = { lines: 1000, bytes: 1_000_000, linesPerChunk: 5, bytesPerChunk: 10_000 };

/** Physical lines from 1; null is a blank one. */
const linesOf = (count: number): (string | null)[] =>
  Array.from({ length: count }, (_, index) => `{"line":${index + 1}}`);

type Setup = { batch: BatchWorld; input: InputFile; lines: (string | null)[]; file: string };

async function setUp(lines: (string | null)[]): Promise<Setup> {
  const batch = await createBatchWorld(redis, at, { total: lines.filter((line) => line !== null).length });
  const file = at(`${batch.batchId}.jsonl`);
  await writeFile(file, `${lines.map((line) => line ?? '').join('\n')}\n`);
  return { batch, lines, file, input: await openInput(file, { spoolDir: at('spool') }) };
}

type Running = {
  producer: Producer;
  /** Line → text, as enqueued; blank lines are left out. */
  enqueued: Map<number, string>;
  /** Every enqueued first line, repeats included. */
  chunks: number[];
  /** Most lines between the enqueueing and the collector at any time. */
  mostOutstanding: () => number;
  /** Ends a line as a worker does, and lets the collector say so. */
  end: (line: number) => Promise<void>;
  done: Promise<void>;
  stop: () => Promise<void>;
};

/** A producer whose queue is a list. */
async function start(
  { batch, input }: Setup,
  options: Partial<Pick<ProducerOptions, 'window' | 'enqueue' | 'isLost' | 'sweepEveryMs'>> = {},
): Promise<Running> {
  const record = await batch.record();
  const enqueued = new Map<number, string>();
  const chunks: number[] = [];
  const ended = new Set<number>();
  let collected = record.collected.lines;
  let mostOutstanding = 0;
  const producer = createProducer({
    redis: client,
    names,
    batch: record,
    input,
    isLost: () => Promise.resolve(false),
    log: createLog('silent'),
    window: wide,
    ...options,
    async enqueue(some) {
      for (const { firstLine, text } of some) {
        chunks.push(firstLine);
        for (const [index, line] of text.split('\n').entries()) {
          if (line.trim() !== '') enqueued.set(firstLine + index, line);
        }
      }
      mostOutstanding = Math.max(mostOutstanding, enqueued.size - ended.size);
      await options.enqueue?.(some);
    },
  });
  const stopping = new AbortController();
  const done = producer.run(stopping.signal);
  done.catch(() => {});
  const stop = () => {
    stopping.abort();
    return done;
  };
  onTestFinished(() => stop().catch(() => {}));
  return {
    producer,
    enqueued,
    chunks,
    mostOutstanding: () => mostOutstanding,
    async end(line) {
      await batch.end(line);
      await client.hset(names.batch(batch.batchId), { collectedLines: (collected += 1) });
      ended.add(line);
      producer.collected(collected);
    },
    done,
    stop,
  };
}

const requests = (lines: (string | null)[]): [number, string][] =>
  lines.flatMap((line, index): [number, string][] => (line === null ? [] : [[index + 1, line]]));

/** Ends lines as they are enqueued, until the producer is through. */
async function workOff(running: Running, order: (lines: number[]) => number[] = (lines) => lines): Promise<void> {
  const finished = new Set<number>();
  for (;;) {
    const open = order([...running.enqueued.keys()].filter((line) => !finished.has(line)));
    for (const line of open) {
      await running.end(line);
      finished.add(line);
    }
    const turn = new Promise<'more'>((resolve) => setImmediate(() => resolve('more')));
    if ((await Promise.race([running.done, turn])) !== 'more') return;
  }
}

describe('the producer', () => {
  it('enqueues every line once, in chunks, and ends when all of them are done', async () => {
    const setup = await setUp(linesOf(123));
    const running = await start(setup);
    await workOff(running);
    expect([...running.enqueued]).toEqual(requests(setup.lines));
    expect(running.chunks).toEqual(Array.from({ length: 25 }, (_, index) => index * 5 + 1));
    const { lowWater } = await setup.batch.record();
    expect(lowWater).toEqual({ offset: setup.input.sizeBytes, line: 124, requests: 123 });
  });

  it('does not wait for blank lines', async () => {
    const setup = await setUp([null, null, '{"a":1}', ...Array.from({ length: 20 }, () => null), '{"a":2}', null]);
    const running = await start(setup);
    await workOff(running);
    expect([...running.enqueued]).toEqual([
      [3, '{"a":1}'],
      [24, '{"a":2}'],
    ]);
    expect((await setup.batch.record()).lowWater.requests).toBe(2);
  });

  it('does not end before the last line is done', async () => {
    const running = await start(await setUp(linesOf(7)));
    await waitFor(() => running.enqueued.size === 7);
    for (const line of [7, 6, 5, 4, 3, 2]) await running.end(line);
    const early = Promise.race([running.done.then(() => 'ended'), client.ping()]);
    expect(await early).toBe('PONG');
    await running.end(1);
    await running.done;
  });

  it('passes on what the queue says', async () => {
    const running = await start(await setUp(linesOf(7)), { enqueue: () => Promise.reject(new Error('queue is down')) });
    await expect(running.done).rejects.toThrow('queue is down');
  });
});

describe('the window', () => {
  test.each([1, 7, 20])('holds so many lines and a chunk: %i', async (lines) => {
    const setup = await setUp(linesOf(150));
    const running = await start(setup, { window: { ...wide, lines } });
    // Nothing is done: it fills up to its brim.
    await waitFor(() => running.enqueued.size >= lines);
    await workOff(running, (open) => open.toReversed());
    expect(running.mostOutstanding()).toBeGreaterThanOrEqual(lines);
    expect(running.mostOutstanding()).toBeLessThan(lines + wide.linesPerChunk);
    expect(running.enqueued.size).toBe(150);
  });

  it('holds so many bytes of what is not done, and goes on behind a line that does not end', async () => {
    const setup = await setUp(linesOf(400));
    const bytes = 600;
    const running = await start(setup, { window: { ...wide, bytes } });
    const ended = new Set([1]);
    await waitFor(
      async () => {
        for (const line of running.enqueued.keys()) if (!ended.has(line)) await running.end(ended.add(line) && line);
        return ended.size === 400;
      },
      { what: 'all lines but the first have ended' },
    );
    expect((await setup.batch.record()).lowWater.line).toBe(1);
    const shortestBytes = '{"line":1}\n'.length;
    expect(running.mostOutstanding()).toBeLessThan(bytes / shortestBytes + wide.linesPerChunk);
    await running.end(1);
    await running.done;
    expect((await setup.batch.record()).lowWater).toMatchObject({ line: 401, requests: 400 });
  });

  it('goes on among lines that do not end, however they lie', async () => {
    const setup = await setUp(linesOf(600));
    const running = await start(setup, { window: { ...wide, lines: 100, bytes: 3000 } });
    const isHeld = (line: number) => line <= 12 || line % 40 === 0;
    const ended = new Set<number>();
    await waitFor(
      async () => {
        for (const line of running.enqueued.keys()) {
          if (!isHeld(line) && !ended.has(line)) await running.end(ended.add(line) && line);
        }
        return running.enqueued.size === 600;
      },
      { what: 'every line is enqueued' },
    );
    await workOff(running, (open) => open.filter((line) => !ended.has(line)));
    expect(running.chunks).toHaveLength(600 / wide.linesPerChunk);
    expect((await setup.batch.record()).lowWater).toMatchObject({ line: 601, requests: 600 });
  });

  it('lets one chunk through, however large', async () => {
    const setup = await setUp(['x'.repeat(5000), 'y'.repeat(5000)]);
    const running = await start(setup, { window: { ...wide, bytes: 100, bytesPerChunk: 10 } });
    await workOff(running);
    expect(running.chunks).toEqual([1, 2]);
  });
});

describe('the low-water mark', () => {
  it('moves when the oldest chunk is done, over all that are done behind it', async () => {
    const setup = await setUp(linesOf(15));
    const running = await start(setup);
    await waitFor(() => running.enqueued.size === 15);
    const lowLine = async () => (await setup.batch.record()).lowWater.line;
    for (const line of [6, 7, 8, 9, 10, 1, 2, 3, 4]) await running.end(line);
    expect(await lowLine()).toBe(1);
    await running.end(5);
    await waitFor(async () => (await lowLine()) === 11);
    const text = setup.lines.slice(0, 10).join('\n');
    expect((await setup.batch.record()).lowWater).toEqual({ offset: text.length + 1, line: 11, requests: 10 });
  });

  it('is where the next producer begins', async () => {
    const setup = await setUp(linesOf(30));
    const first = await start(setup);
    await waitFor(() => first.enqueued.size === 30);
    for (const line of [1, 2, 3, 4, 5, 11, 12]) await first.end(line);
    await waitFor(async () => (await setup.batch.record()).lowWater.line === 6);
    await first.stop();
    const second = await start(setup);
    await waitFor(() => second.enqueued.size === 25);
    expect(second.chunks).toEqual([6, 11, 16, 21, 26]);
    for (const line of second.enqueued.keys()) if (line !== 11 && line !== 12) await second.end(line);
    await second.done;
    expect((await setup.batch.record()).lowWater).toMatchObject({ line: 31, requests: 30 });
  });

  it('lets no line be forgotten, wherever producers stop and whatever order lines end in', async () => {
    const content = fc.array(
      fc.option(
        fc.string({ unit: 'binary-ascii', maxLength: 20 }).map((text) => JSON.stringify({ text })),
        { freq: 4 },
      ),
      {
        minLength: 1,
        maxLength: 60,
      },
    );
    const lives = fc.array(fc.array(fc.nat(59), { maxLength: 30 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(content, lives, fc.integer({ min: 1, max: 12 }), async (lines, endings, windowLines) => {
        fc.pre(lines.some((line) => line !== null));
        const setup = await setUp(lines);
        const window = { ...wide, lines: windowLines, linesPerChunk: 3 };
        const done = new Set<number>();
        for (const picks of endings) {
          const running = await start(setup, { window });
          for (const pick of picks) {
            const open = [...running.enqueued.keys()].filter((line) => !done.has(line));
            const line = open[pick % Math.max(1, open.length)];
            if (line === undefined) await client.ping();
            else {
              done.add(line);
              await running.end(line);
            }
          }
          await running.stop();
        }
        const last = await start(setup, { window });
        await workOff(last, (open) => open.filter((line) => !done.has(line)));
        for (const [line, text] of last.enqueued) expect(text).toBe(lines[line - 1]);
        for (const [line] of requests(lines)) {
          expect(await client.getbit(names.done(setup.batch.batchId), line), `line ${line}`).toBe(1);
        }
        expect((await setup.batch.record()).lowWater.requests).toBe(requests(lines).length);
      }),
      { numRuns: 25 },
    );
  });
});

describe('what is done already', () => {
  it('is not enqueued again, and takes no room in the window', async () => {
    const setup = await setUp(linesOf(400));
    const undone = new Set([3, 199, 200, 331, 400]);
    for (let line = 1; line <= 400; line += 1) if (!undone.has(line)) await setup.batch.end(line);
    await client.hset(names.batch(setup.batch.batchId), { collectedLines: 395 });
    const running = await start(setup, { window: { ...wide, lines: 4 } });
    await waitFor(() => running.chunks.length >= 3);
    // The window is full of what is not done, and of nothing else.
    await client.ping();
    expect(running.chunks).toEqual([1, 196, 331]);
    await workOff(running, (open) => open.filter((line) => undone.has(line)));
    expect(running.chunks).toEqual([1, 196, 331, 396]);
    expect((await setup.batch.record()).lowWater).toMatchObject({ line: 401, requests: 400 });
  });

  it('is not counted among the lines that a chunk has to send, nor are blank ones', async () => {
    const lines = linesOf(25);
    lines[5] = null;
    const setup = await setUp(lines);
    for (const line of [1, 2, 4, 5, 7, 11, 12, 13, 14, 15]) await setup.batch.end(line);
    const counts: [number, number][] = [];
    const lost = new Set([1]);
    const running = await start(setup, {
      sweepEveryMs: 0,
      isLost: (firstLine) => Promise.resolve(lost.delete(firstLine)),
      async enqueue(chunks) {
        for (const { firstLine, undoneCount } of chunks) counts.push([firstLine, undoneCount]);
      },
    });
    await waitFor(() => counts.length === 5, { what: 'four chunks are enqueued, and the lost one again' });
    expect(counts).toEqual([
      [1, 1],
      [6, 3],
      [16, 5],
      [21, 5],
      [1, 1],
    ]);
    await running.stop();
  });
});

describe('an abort', () => {
  it('stops it while it waits for room', async () => {
    const running = await start(await setUp(linesOf(50)), { window: { ...wide, lines: 10 } });
    await waitFor(() => running.enqueued.size >= 10);
    await running.stop();
    expect(running.enqueued.size).toBeLessThan(15);
  });

  it('stops it while it waits for the last lines', async () => {
    const running = await start(await setUp(linesOf(5)));
    await waitFor(() => running.enqueued.size === 5);
    await running.stop();
  });
});

describe('an input that changes', () => {
  async function begun() {
    // A chunk is longer than what is read of the file at once: each needs a reading of its own.
    const long = (line: string | null) => line && JSON.stringify({ line, padding: 'x'.repeat(20_000) });
    const setup = await setUp(linesOf(200).map(long));
    const window = { lines: 10, bytes: 100_000_000, linesPerChunk: 30, bytesPerChunk: 1_000_000 };
    const running = await start(setup, { window });
    await waitFor(() => running.enqueued.size >= 10);
    return { setup, running };
  }

  test.each([
    ['is written to', (file: string) => writeFile(file, '{"line":"other"}\n'.repeat(300_000))],
    ['is cut', (file: string) => truncate(file, 1_000_000)],
    ['is moved away', (file: string) => rename(file, `${file}.moved`)],
    [
      'is replaced',
      async (file: string) => {
        await writeFile(`${file}.new`, '{"line":"other"}\n'.repeat(300_000));
        await rename(`${file}.new`, file);
      },
    ],
  ])('stops it before anything of the change is enqueued: %s', async (_, change) => {
    const { setup, running } = await begun();
    await change(setup.file);
    const before = [...running.enqueued.keys()];
    for (const line of before) await running.end(line);
    await expect(running.done).rejects.toMatchObject({ code: 'input' });
    for (const [line, text] of running.enqueued) expect(text).toBe(setup.lines[line - 1]);
  });

  it('at any moment of the reading never has a line of the change enqueued', async () => {
    const padding = 'x'.repeat(20_000);
    const other = linesOf(200).map((_, index) => JSON.stringify({ line: -index, padding }));
    for (let moment = 0; moment < 12; moment += 1) {
      const setup = await setUp(linesOf(200).map((line) => line && JSON.stringify({ line, padding })));
      const running = await start(setup, { window: { ...wide, bytes: 100_000_000, bytesPerChunk: 1_000_000 } });
      for (let turn = 0; turn < moment; turn += 1) await client.ping();
      await writeFile(setup.file, other.map((line) => `${line}\n`).join(''));
      // Either all of it was read before the change, or it is noticed.
      await Promise.race([running.done, waitFor(() => running.enqueued.size === 200)]).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'input' });
      });
      for (const [line, text] of running.enqueued) expect(text === setup.lines[line - 1], `line ${line}`).toBe(true);
      await running.stop().catch(() => {});
    }
  });

  it('and is put back goes on where it was', async () => {
    const { setup, running } = await begun();
    await rename(setup.file, `${setup.file}.moved`);
    const done = [...running.enqueued.keys()];
    for (const line of done) await running.end(line);
    await expect(running.done).rejects.toMatchObject({ code: 'input' });
    await rename(`${setup.file}.moved`, setup.file);
    const input = await openInput(setup.file, { spoolDir: at('spool') });
    const again = await start({ ...setup, input });
    await workOff(again, (open) => open.filter((line) => !done.includes(line)));
    expect((await setup.batch.record()).lowWater).toMatchObject({ line: 201, requests: 200 });
  });

  it('when all of it has been read does not matter any more', async () => {
    const setup = await setUp(linesOf(20));
    const running = await start(setup);
    await waitFor(() => running.enqueued.size === 20);
    await writeFile(setup.file, 'something else\n');
    await workOff(running);
  });
});

describe('a queue', () => {
  async function withQueue(options: { sweepEveryMs: number }) {
    const setup = await setUp(linesOf(20));
    const queue = createQueue({ url: redis.url }, names);
    onTestFinished(() => queue.close());
    const { batchId } = setup.batch;
    const running = await start(setup, {
      ...options,
      window: { ...wide, lines: 12 },
      enqueue: (chunks) =>
        enqueue(
          queue,
          chunks.map(({ firstLine, text }) => ({ batchId, firstLine, text })),
        ),
      isLost: (firstLine) => isLost(queue, { batchId, firstLine }),
    });
    const job = (firstLine: number) => queue.getJob(jobIdOf({ batchId, firstLine }));
    await waitFor(async () => (await job(11)) !== undefined);
    return { queue, running, job };
  }

  it('that lost a job gets it again', async () => {
    const { running, job } = await withQueue({ sweepEveryMs: 0 });
    const before = (await job(6))?.data.text;
    await (await job(6))?.remove();
    await waitFor(async () => (await job(6)) !== undefined);
    expect((await job(6))?.data.text).toBe(before);
    // Only what was lost.
    expect(new Set(running.chunks.slice(3))).toEqual(new Set([6]));
    await workOff(running);
  });

  it('that lost a job gets it again, however many held ones lie before it', async () => {
    const lost = 290;
    const setup = await setUp(linesOf(300));
    const running = await start(setup, {
      window: { ...wide, linesPerChunk: 1 },
      sweepEveryMs: 0,
      isLost: (firstLine) => Promise.resolve(firstLine === lost && timesOf(lost) === 1),
    });
    const timesOf = (line: number) => running.chunks.filter((firstLine) => firstLine === line).length;
    await waitFor(() => timesOf(lost) === 2, { what: 'the lost job is enqueued again' });
    await workOff(running);
    expect(running.chunks).toHaveLength(301);
  });

  it('that has ended a job does not get it again', async () => {
    const { running, job } = await withQueue({ sweepEveryMs: 0 });
    for (const line of [6, 7, 8, 9, 10]) await running.end(line);
    await (await job(6))?.remove();
    await workOff(running);
    expect(running.chunks.filter((firstLine) => firstLine === 6)).toEqual([6]);
  });
});
