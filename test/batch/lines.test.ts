import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { notUtf8Mark } from '../../src/batch/decode.ts';
import { eachLine, longestLineBytes, readChunks, type Chunk } from '../../src/batch/lines.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-lines-'));
});
afterAll(() => rm(directory, { recursive: true }));

type Limits = { maxLines: number; maxBytes: number };
const wide: Limits = { maxLines: 1000, maxBytes: 1_000_000 };

async function save(content: string | Buffer, compressed = false) {
  const file = path.join(directory, 'input');
  await writeFile(file, compressed ? gzipSync(content) : content);
  return { path: file, source: 'X.jsonl', compressed };
}

async function read(input: Awaited<ReturnType<typeof save>>, limits: Limits, from = { offset: 0, line: 1 }) {
  const options = { ...limits, fromOffset: from.offset, fromLine: from.line };
  const chunks: Chunk[] = [];
  for await (const chunk of readChunks(input, options)) chunks.push(chunk);
  return chunks;
}

const content = fc
  .array(fc.oneof(fc.string({ unit: 'grapheme', maxLength: 30 }), fc.constantFrom('', ' ', '\r', '€', 'x'.repeat(300))))
  .chain((lines) => fc.constantFrom('', '\n').map((end) => lines.join('\n') + end));
const limits = fc.record({ maxLines: fc.integer({ min: 1, max: 5 }), maxBytes: fc.integer({ min: 1, max: 200 }) });

describe('readChunks', () => {
  it('yields chunks that joined give back the file, whatever the content and the limits', async () => {
    await fc.assert(
      fc.asyncProperty(content, limits, fc.boolean(), async (text, limit, compressed) => {
        const chunks = await read(await save(text, compressed), limit);
        const withoutMark = text.replace(/^\ufeff/, '');
        expect(chunks.map((chunk) => chunk.text).join('\n')).toBe(withoutMark.replace(/\n$/, ''));
        let offset = 0;
        let line = 1;
        for (const chunk of chunks) {
          expect(chunk).toMatchObject({ offset, firstLine: line, lineCount: chunk.text.split('\n').length });
          expect(chunk.requestCount).toBe(chunk.text.split('\n').filter((one) => !/^[ \t\r]*$/.test(one)).length);
          expect(chunk.lineCount).toBeLessThanOrEqual(limit.maxLines);
          if (chunk.lineCount > 1) expect(chunk.endOffset - chunk.offset).toBeLessThanOrEqual(limit.maxBytes);
          offset = chunk.endOffset;
          line += chunk.lineCount;
        }
        expect(offset).toBe(Buffer.byteLength(text));
      }),
      { numRuns: 150 },
    );
  });

  it('goes on from any chunk’s end exactly as the first reading did', async () => {
    await fc.assert(
      fc.asyncProperty(content, limits, fc.nat(), fc.boolean(), async (text, limit, nth, compressed) => {
        const input = await save(text, compressed);
        const chunks = await read(input, limit);
        const from = chunks[nth % Math.max(1, chunks.length)];
        if (!from) return;
        const again = await read(input, limit, { offset: from.offset, line: from.firstLine });
        expect(again).toEqual(chunks.slice(chunks.indexOf(from)));
      }),
      { numRuns: 150 },
    );
  });

  it('cuts the same chunks whether the bytes come in small or in large blocks', async () => {
    const lines = Array.from({ length: 30_000 }, (_, index) => `${index} ${'ä'.repeat(index % 97)}`).join('\r\n');
    const limit = { maxLines: 700, maxBytes: 40_000 };
    const plain = await read(await save(lines), limit);
    expect(await read(await save(lines, true), limit)).toEqual(plain);
    expect(plain.map((chunk) => chunk.text).join('\n')).toBe(lines);
  });

  it('drops a byte order mark from the text and keeps it in the offsets', async () => {
    const [chunk] = await read(await save('\ufeff{}\n\ufeff\n'), wide);
    expect(chunk).toMatchObject({ text: '{}\n\ufeff', offset: 0, endOffset: 10, lineCount: 2 });
    expect(await read(await save('\ufeff'), wide)).toMatchObject([{ text: '', lineCount: 1, requestCount: 0 }]);
  });

  it('marks the lines that are not UTF-8 and leaves the others alone', async () => {
    const input = await save(Buffer.concat([Buffer.from('é\n\n'), Buffer.from([0x61, 0xe9, 0x0a]), Buffer.from('ü')]));
    const [chunk] = await read(input, wide);
    expect(chunk).toMatchObject({ text: `é\n\n${notUtf8Mark}a\ufffd\nü`, endOffset: 9, lineCount: 4, requestCount: 3 });
  });

  it('names a line that is longer than any request', async () => {
    const line = Buffer.alloc(longestLineBytes + 1, 'x');
    const input = await save(Buffer.concat([Buffer.from('a\nb\n'), line]));
    await expect(read(input, wide)).rejects.toMatchObject({
      code: 'input',
      message: expect.stringContaining('X.jsonl:3: expected lines of at most 64 MiB') as string,
    });
    const largest = await save(Buffer.concat([line.subarray(0, longestLineBytes - 1), Buffer.from('\nb')]));
    expect((await read(largest, wide)).map((chunk) => chunk.endOffset)).toEqual([
      longestLineBytes,
      longestLineBytes + 1,
    ]);
  });

  it('says that gzip data is cut or damaged', async () => {
    const input = await save('', true);
    const whole = gzipSync(Array.from({ length: 20_000 }, (_, index) => `line ${index * 7919}`).join('\n'));
    const middle = Math.floor(whole.length / 2);
    await writeFile(input.path, whole.subarray(0, middle));
    await expect(read(input, wide)).rejects.toThrow('X.jsonl: the gzip data ends too early');
    whole.fill(0x55, middle, middle + 100);
    await writeFile(input.path, whole);
    await expect(read(input, wide)).rejects.toThrow('X.jsonl: the gzip data is damaged');
  });
});

describe('eachLine', () => {
  it('visits the lines that are not blank, each with its number', async () => {
    const [chunk] = await read(await save('\n a\n \t\r\n\nb\r\n'), wide);
    const seen: [string, number][] = [];
    eachLine(chunk as Chunk, (text, line) => seen.push([text, line]));
    expect(seen).toEqual([
      [' a', 2],
      ['b\r', 5],
    ]);
    expect(chunk?.requestCount).toBe(2);
  });
});
