import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, copyFile, mkdir, readFile, rename, rm, symlink, truncate } from 'node:fs/promises';
import path from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { loadScript } from '../../src/redis/script.ts';
import { startProcess } from '../support/process.ts';
import { testRedis } from '../support/redis.ts';
import { collectAll, createBatchWorld, expectedFiles, testDirectory, type BatchWorld, type Result } from './world.ts';

const redis = testRedis();
const { client, names } = redis;
const at = testDirectory();
const world = () => createBatchWorld(redis, at);

const numbered = (count: number, from = 1): Result[] =>
  Array.from({ length: count }, (_, index) => ({
    to: (from + index) % 4 === 0 ? 'e' : 'o',
    text: `{"n":${from + index},"text":"Antwort ${from + index} 🌊"}`,
  }));

/** What is in the stream and not yet committed. */
async function pending(batch: BatchWorld): Promise<{ id: string; to: string; text: string }[]> {
  const { collected } = await batch.record();
  const entries = await client.xrange(names.results(batch.batchId), `(${collected.streamId}`, '+');
  return entries.map(([id, fields]) => ({ id, to: fields[1] ?? '', text: fields[5] ?? '' }));
}

/** A collector that died between its write and its commit: so many bytes of what it wrote reached the files. */
async function dieAfterWrite(batch: BatchWorld, bytes: number): Promise<void> {
  const entries = await pending(batch);
  const { outputFile, errorFile } = await batch.record();
  for (const [file, to] of [
    [outputFile, 'o'],
    [errorFile, 'e'],
  ] as const) {
    const text = entries.map((entry) => (entry.to === to ? `${entry.text}\n` : '')).join('');
    await appendFile(file, Buffer.from(text).subarray(0, bytes));
  }
}

/** A collector that died between its commit and its trim. */
async function dieAfterCommit(batch: BatchWorld): Promise<void> {
  const entries = await pending(batch);
  const last = entries.at(-1);
  if (!last) return;
  await dieAfterWrite(batch, Number.MAX_SAFE_INTEGER);
  const { collected, outputFile, errorFile } = await batch.record();
  const sizes = await Promise.all([outputFile, errorFile].map(async (file) => (await readFile(file)).length));
  await client.hset(names.batch(batch.batchId), {
    collectedId: last.id,
    collectedLines: collected.lines + entries.length,
    outputBytes: sizes[0] ?? 0,
    errorBytes: sizes[1] ?? 0,
  });
}

const refusalOf = (attempt: Promise<unknown>) =>
  attempt.then(
    () => expect.unreachable('expected a refusal'),
    (error: unknown) => error as { code: string; message: string },
  );

describe('the collector', () => {
  it('writes each result once, in the stream’s order, and trims what it has written', async () => {
    const batch = await world();
    const collector = await batch.collector();
    const results = numbered(2500);
    await batch.add(results);
    await collectAll(collector);
    expect(await batch.files()).toEqual(expectedFiles(results));
    expect(collector.committed()).toMatchObject({ lines: 2500 });
    expect((await batch.record()).collected).toEqual(collector.committed());
    expect(await client.xlen(names.results(batch.batchId))).toBe(0);
  });

  it('makes both files, though nothing may ever go into one of them', async () => {
    const batch = await world();
    await batch.collector();
    expect(await batch.files()).toEqual({ output: '', errors: '' });
  });

  it('waits for results, and not longer than it is told', async () => {
    const batch = await world();
    const collector = await batch.collector();
    expect(await collector.collectOnce(10)).toBe(0);
    const collecting = collector.collectOnce(10_000);
    await batch.add(numbered(3));
    expect(await collecting).toBeGreaterThan(0);
    await collectAll(collector);
    expect(await batch.files()).toEqual(expectedFiles(numbered(3)));
  });

  it('leaves files that equal the results, each line once, wherever it crashes', async () => {
    const texts = fc.oneof(
      fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => JSON.stringify(text)),
      fc.constant(`"${'x'.repeat(5000)}"`),
    );
    const results = fc.array(fc.record({ to: fc.constantFrom('o', 'e'), text: texts }), { maxLength: 12 });
    const steps = fc.array(
      fc.oneof(
        results.map((some) => ({ do: 'add' as const, some: some as Result[] })),
        fc.constant({ do: 'collect' as const }),
        fc.constant({ do: 'crash' as const }),
        fc.nat(10_000).map((bytes) => ({ do: 'crash after the write' as const, bytes })),
        fc.uint8Array({ maxLength: 200 }).map((bytes) => ({ do: 'crash with a torn tail' as const, bytes })),
        fc.constant({ do: 'crash before the trim' as const }),
      ),
      { maxLength: 14 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (script) => {
        const batch = await world();
        let collector = await batch.collector();
        const all: Result[] = [];
        for (const step of script) {
          if (step.do === 'add') {
            await batch.add(step.some);
            all.push(...step.some);
          } else if (step.do === 'collect') {
            await collector.collectOnce(0);
          } else {
            await collector.close();
            if (step.do === 'crash after the write') await dieAfterWrite(batch, step.bytes);
            if (step.do === 'crash before the trim') await dieAfterCommit(batch);
            if (step.do === 'crash with a torn tail') {
              const { outputFile, errorFile } = await batch.record();
              await appendFile(outputFile, step.bytes);
              await appendFile(errorFile, step.bytes);
            }
            collector = await batch.collector();
          }
        }
        await collectAll(collector);
        await collector.close();
        expect(await batch.files()).toEqual(expectedFiles(all));
        expect((await batch.record()).collected.lines).toBe(all.length);
      }),
      { numRuns: 40 },
    );
  });

  it('survives being killed at any moment', async () => {
    const batch = await world();
    const results: Result[] = [];
    for (let life = 0; life < 3; life += 1) {
      const more = numbered(3000, results.length + 1);
      results.push(...more);
      const child = startProcess([
        path.join(import.meta.dirname, 'collector-process.ts'),
        redis.url,
        redis.namespace,
        batch.batchId,
      ]);
      const added = batch.add(more);
      // Now, or in the middle of things.
      await child.kill('SIGKILL');
      await added;
    }
    await collectAll(await batch.collector());
    expect(await batch.files()).toEqual(expectedFiles(results));
  });
});

describe('a collector that lost its lease', () => {
  it('commits nothing and stops', async () => {
    const batch = await world();
    const collector = await batch.collector('host 1 ours');
    await batch.add(numbered(5));
    await collector.assertOurs();
    await batch.lease('host 2 theirs');
    expect(await refusalOf(collector.assertOurs())).toMatchObject({ code: 'usage' });
    expect(await refusalOf(collector.collectOnce(0))).toMatchObject({ code: 'usage', message: /another process took/ });
    expect((await batch.record()).collected.lines).toBe(0);
    await collectAll(await batch.collector('host 2 theirs'));
    expect(await batch.files()).toEqual(expectedFiles(numbered(5)));
  });

  it('that slept while another collected and left writes nothing, although the lease is free', async () => {
    const batch = await world();
    const asleep = await batch.collector('host 1 asleep');
    await batch.add(numbered(4));
    await collectAll(asleep);
    await batch.add(numbered(4, 5));
    const other = await batch.collector('host 2 other');
    await collectAll(other);
    await batch.add(numbered(4, 9));
    await client.del(names.lease(batch.batchId));
    // What it knows to be next was trimmed; what is next now belongs somewhere else.
    const refusal = { code: 'usage', message: /another process took .* \(process 2 on host\)/ };
    expect(await refusalOf(asleep.assertOurs())).toMatchObject(refusal);
    expect(await refusalOf(asleep.collectOnce(0))).toMatchObject(refusal);
    // Nor where Redis has forgotten who that was.
    await client.del(names.lastHolder(batch.batchId));
    expect(await refusalOf(asleep.collectOnce(0))).toMatchObject({ code: 'redis' });
    expect(await batch.files()).toEqual(expectedFiles(numbered(8)));
    await collectAll(await batch.collector('host 3 last'));
    expect(await batch.files()).toEqual(expectedFiles(numbered(12)));
  });

  it('goes on when the lease only ran out and nobody took it', async () => {
    const batch = await world();
    const collector = await batch.collector();
    await batch.add(numbered(3));
    await client.del(names.lease(batch.batchId));
    await collectAll(collector);
    expect(await batch.files()).toEqual(expectedFiles(numbered(3)));
  });

  it('never corrupts the files, however two of them race', async () => {
    const batch = await world();
    const results = numbered(600);
    let added = 0;
    const add = async () => {
      const some = results.slice(added, added + 20);
      added += some.length;
      await batch.add(some);
    };
    let current = await batch.collector('host 0 first');
    for (let round = 1; added < results.length; round += 1) {
      await add();
      const stale = current;
      const takeOver = batch.collector(`host ${round} next`);
      // The old one collects while the new one opens, and goes on while it collects.
      const racing = Promise.allSettled([stale.collectOnce(0), add(), stale.collectOnce(0)]);
      current = await takeOver;
      await Promise.all([current.collectOnce(0), racing]);
      await stale.close();
    }
    await collectAll(current);
    expect(await batch.files()).toEqual(expectedFiles(results));
    expect((await batch.record()).collected.lines).toBe(results.length);
  });
});

describe('a commit', () => {
  const commit = loadScript(client, 'commit.lua', new URL('../../src/batch/', import.meta.url).href);
  const send = (batch: BatchWorld, before: string, id: string, lines: number) =>
    commit(
      [names.lease(batch.batchId), names.batch(batch.batchId), names.results(batch.batchId)],
      ['ours', before, id, `${id.split('-')[0]}-1`, String(lines), '10', '0'],
    );

  const entry = (batch: BatchWorld, id: string) =>
    client.xadd(names.results(batch.batchId), id, 't', 'o', 'l', '1', 'r', '{}');

  it('of an entry that Redis has lost is refused', async () => {
    const batch = await world();
    await batch.lease('ours');
    expect(await send(batch, '0-0', '5-0', 1)).toBe('moved');
    expect((await batch.record()).collected.lines).toBe(0);
  });

  it('that is sent again by a broken connection counts once', async () => {
    const batch = await world();
    await batch.lease('ours');
    await entry(batch, '5-0');
    expect(await send(batch, '0-0', '5-0', 3)).toBe('ok');
    expect(await send(batch, '0-0', '5-0', 3)).toBe('ok');
    expect((await batch.record()).collected).toEqual({ streamId: '5-0', lines: 3, outputBytes: 10, errorBytes: 0 });
  });

  it('that does not follow on the last one is refused', async () => {
    const batch = await world();
    await batch.lease('ours');
    await entry(batch, '5-0');
    await send(batch, '0-0', '5-0', 3);
    expect(await send(batch, '0-0', '7-0', 4)).toBe('moved');
    await batch.lease('theirs');
    expect(await send(batch, '5-0', '7-0', 4)).toBe('taken');
    expect((await batch.record()).collected.lines).toBe(3);
  });

  it('that Redis forgot stops the collector, and the next one goes on from there', async () => {
    const batch = await world();
    const collector = await batch.collector();
    await batch.add(numbered(4));
    const before = await client.dumpBuffer(names.results(batch.batchId));
    await collectAll(collector);
    // A restart from older data: the commit is undone, and so is the trim.
    await client.restore(names.results(batch.batchId), 0, before, 'REPLACE');
    await client.hset(names.batch(batch.batchId), {
      collectedId: '0-0',
      collectedLines: 0,
      outputBytes: 0,
      errorBytes: 0,
    });
    await batch.add(numbered(4, 5));
    expect(await refusalOf(collector.collectOnce(0))).toMatchObject({ code: 'redis', message: /same command again/ });
    await collectAll(await batch.collector());
    expect(await batch.files()).toEqual(expectedFiles(numbered(8)));
  });
});

describe('files in somebody else’s hands', () => {
  async function begun(): Promise<{ batch: BatchWorld; file: string; sizeBytes: number }> {
    const batch = await world();
    const collector = await batch.collector();
    await batch.add(numbered(10));
    await collectAll(collector);
    await collector.close();
    const { outputFile, collected } = await batch.record();
    return { batch, file: outputFile, sizeBytes: collected.outputBytes };
  }

  test.each([
    ['shortened', (file: string) => truncate(file, 7), /has 7 bytes, but \d+ were written/],
    ['emptied', (file: string) => truncate(file, 0), /has 0 bytes/],
    ['deleted', (file: string) => rm(file), /was deleted, moved or replaced/],
  ])('are noticed when the collector opens: %s', async (_, meddle, message) => {
    const { batch, file } = await begun();
    await meddle(file);
    const error = await refusalOf(batch.collector());
    expect(error).toMatchObject({ code: 'input', message });
    expect(error.message).toContain(file);
    expect(error.message).toContain('Put it back');
  });

  test.each([
    ['shortened', (file: string) => truncate(file, 7), /has 7 bytes, but \d+ were written/],
    ['deleted', (file: string) => rm(file), /was deleted, moved or replaced/],
    ['moved away', (file: string) => rename(file, `${file}.moved`), /was deleted, moved or replaced/],
    [
      'replaced by a copy',
      async (file: string) => {
        await copyFile(file, `${file}.copy`);
        await rename(`${file}.copy`, file);
      },
      /was deleted, moved or replaced/,
    ],
  ])('are noticed while it runs, before anything is written after them: %s', async (_, meddle, message) => {
    const { batch, file } = await begun();
    const collector = await batch.collector();
    await meddle(file);
    await batch.add(numbered(5, 11));
    const error = await refusalOf(collector.collectOnce(0));
    expect(error).toMatchObject({ code: 'input', message });
    expect((await batch.record()).collected.lines).toBe(10);
    expect(await client.xlen(names.results(batch.batchId))).toBe(5);
  });

  it('can be put back: then it goes on', async () => {
    const { batch, file } = await begun();
    await rename(file, `${file}.moved`);
    expect(await refusalOf(batch.collector())).toMatchObject({ code: 'input' });
    // Nothing was made in its place that would be overwritten by putting it back.
    expect(existsSync(file)).toBe(false);
    await rename(`${file}.moved`, file);
    await batch.add(numbered(5, 11));
    await collectAll(await batch.collector());
    expect(await batch.files()).toEqual(expectedFiles(numbered(15)));
  });

  it('lose what was added to them: only what was committed counts', async () => {
    const { batch, file } = await begun();
    await appendFile(file, 'a note by hand\n');
    await collectAll(await batch.collector());
    expect(await batch.files()).toEqual(expectedFiles(numbered(10)));
  });
});

describe('a disk that takes nothing more', () => {
  it.skipIf(!existsSync('/dev/full'))('stops the collector by name, and costs no line', async () => {
    const batch = await world();
    const { outputFile } = await batch.record();
    await symlink('/dev/full', outputFile);
    const collector = await batch.collector();
    await batch.add(numbered(10));
    const error = await refusalOf(collector.collectOnce(0));
    expect(error).toMatchObject({ code: 'disk', message: /the disk is full: free some space/ });
    expect(error.message).toContain(outputFile);
    await collector.close();
    await rm(outputFile);
    await collectAll(await batch.collector());
    expect(await batch.files()).toEqual(expectedFiles(numbered(10)));
  });

  it('may have taken half a line: it is cut off again', async () => {
    const batch = await world();
    const results = numbered(400);
    await batch.add(results);
    const child = path.join(import.meta.dirname, 'collector-process.ts');
    // A real limit of the kernel: the file may not grow beyond so many blocks.
    const limited = spawn(
      'sh',
      ['-c', 'ulimit -f 4; exec "$@"', 'sh', process.execPath, child, redis.url, redis.namespace, batch.batchId],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let said = '';
    limited.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    await once(limited, 'close');
    expect(said).toMatch(/^disk: cannot write .*output\.jsonl: .*ulimit -f/);
    const { outputFile, collected } = await batch.record();
    expect(collected.lines).toBeLessThan(results.length);
    expect((await readFile(outputFile)).length).toBeGreaterThan(collected.outputBytes);
    await collectAll(await batch.collector());
    expect(await batch.files()).toEqual(expectedFiles(results));
  });

  test.each([
    ['a directory in the file’s place', '', /is a directory/],
    ['a directory that is gone', '.d/x.jsonl', /its directory is gone/],
  ])('or never took anything: %s', async (_, suffix, message) => {
    const batch = await world();
    const { outputFile } = await batch.record();
    const file = outputFile + suffix;
    await client.hset(names.batch(batch.batchId), { outputFile: file });
    if (suffix === '') await mkdir(file);
    const error = await refusalOf(batch.collector());
    expect(error).toMatchObject({ code: 'disk', message });
    expect(error.message).toContain(file);
  });

  it('leaves no file open when only one of the two can be opened', async () => {
    const batch = await world();
    const { errorFile } = await batch.record();
    await client.hset(names.batch(batch.batchId), { errorBytes: 10 });
    for (let attempt = 0; attempt < 3; attempt += 1) {
      expect(await refusalOf(batch.collector())).toMatchObject({ code: 'input', message: new RegExp(errorFile) });
    }
  });
});
