/** Validation in several threads says what validation in one says, to the letter and in the same order. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { threadsFor } from '../../src/batch/check-threads.ts';
import { openInput } from '../../src/batch/input.ts';
import { createInspect } from '../../src/batch/inspect.ts';
import { validateInput, type ValidationOptions } from '../../src/batch/validate.ts';
import { parseListing } from '../../src/provider/models.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-threads-'));
});
afterEach(() => rm(directory, { recursive: true }));

const listing = parseListing({
  data: [{ id: 'small', context_length: 8000, supported_parameters: ['max_tokens'], capabilities: {} }],
});
const offers = [{ provider: { name: 'p', kind: 'privatemind' as const }, listing }];
const rules = { aliases: { p: { fast: 'small' } }, fallbacks: {}, dropUnsupported: false };

const padding = 'lorem ipsum '.repeat(12);

/** Lines of every kind, more than several threads hold at once; `index` counts from 0. */
function oddLine(index: number): string | Buffer {
  if (index % 997 === 0) return `{"prompt":"${padding}", `;
  if (index % 991 === 0) return '';
  if (index % 983 === 0) return JSON.stringify({ prompt: padding, custom_id: `id-${index % 7}` });
  if (index % 977 === 0) return JSON.stringify({ prompt: padding, model: `model-${index}` });
  if (index % 971 === 0) return JSON.stringify({ prompt: padding, temperature: 0.5 });
  if (index % 967 === 0) return Buffer.from([0x7b, 0xff, 0x7d]);
  if (index % 953 === 0) return JSON.stringify({ prompt: `${padding} \u20ac \u{1f319}` });
  return JSON.stringify({ prompt: padding, custom_id: `line-${index}` });
}

function oddContent(lineCount: number): Buffer {
  const lines = Array.from({ length: lineCount }, (_, index) => [Buffer.from(oddLine(index)), Buffer.from('\n')]);
  return Buffer.concat([Buffer.from('\ufeff'), ...lines.flat()]);
}

async function validate(content: Buffer, options: Partial<ValidationOptions>) {
  const file = path.join(directory, 'X.jsonl');
  await writeFile(file, content);
  const input = await openInput(file, { spoolDir: directory });
  return validateInput(input, { defaults: { model: 'small' }, spoolDir: directory, ...options });
}

describe('validation in threads', () => {
  it.each([
    ['plain', (content: Buffer) => content],
    ['gzip', (content: Buffer) => gzipSync(content)],
  ])('reports on a %s file what one thread reports, in the same order', async (_, pack) => {
    const content = pack(oddContent(20_000));
    const options = { inspect: createInspect(offers, rules), maxProblems: 50 };
    const { isDuplicate: one, ...expected } = await validate(content, { ...options, threads: 1 });
    const { isDuplicate: several, ...found } = await validate(content, { ...options, threads: 3 });
    expect(found).toEqual(expected);
    expect([...found.problemCounts]).toEqual([...expected.problemCounts]);
    expect([...found.models]).toEqual([...expected.models]);
    expect(expected.problems).toHaveLength(50);
    expect(Object.fromEntries(expected.problemCounts)).toMatchObject({
      duplicate_custom_id: expect.any(Number) as number,
      invalid_encoding: expect.any(Number) as number,
      model_not_found: expect.any(Number) as number,
      unsupported_parameter: expect.any(Number) as number,
    });
    const numbers = Array.from({ length: expected.lines }, (__, index) => index + 1);
    expect(numbers.filter(several)).toEqual(numbers.filter(one));
  });

  it('numbers the lines rightly, wherever blocks and pieces of them end', async () => {
    const piece = 96 * 1024;
    const lengths = [piece - 1, piece, piece + 1, 0, 1, piece - 2, 0, 0, 5 * piece, piece, 3, 6 * piece - 1, 0, piece];
    const all = [...lengths, ...lengths.toReversed(), ...lengths];
    const content = Buffer.from(all.map((length) => 'x'.repeat(length)).join('\n'));
    const numbers = all.flatMap((length, index) => (length === 0 ? [] : [index + 1]));
    for (const threads of [1, 2]) {
      const { problems, total, lines } = await validate(content, { threads, maxProblems: 100 });
      expect({ total, lines }).toEqual({ total: numbers.length, lines: all.length });
      expect(problems.map(({ line }) => line)).toEqual(numbers);
    }
  });

  it('tells how far it is, from the first block to the last byte', async () => {
    const content = oddContent(20_000);
    const seen: { bytesRead: number; lines: number }[] = [];
    await validate(content, { threads: 2, onProgress: (at) => seen.push(at) });
    expect(seen.length).toBeGreaterThan(5);
    expect(seen.map(({ lines }) => lines)).toEqual(seen.map(({ lines }) => lines).toSorted((a, b) => a - b));
    expect(seen.at(-1)).toEqual({ bytesRead: content.length, lines: 20_000 });
  });

  it('takes a line longer than a block whole', async () => {
    const long = JSON.stringify({ prompt: 'x'.repeat(3_000_000) });
    const content = Buffer.from(`${long}\n{"prompt":"a"}\n${long}`);
    expect(await validate(content, { threads: 2 })).toMatchObject({ total: 3, invalid: 0, lines: 3 });
  });

  it('goes through a small file with the thread that is there', () => {
    expect(threadsFor({ sizeBytes: 1_000_000, compressed: false })).toBe(1);
    expect(threadsFor({ sizeBytes: 1_000_000, compressed: true })).toBe(1);
  });

  it('does with one thread what cannot be told to another', async () => {
    const inspect = (request: { customId: string }, line: number) =>
      line === 2 ? { line, field: null, code: 'odd', message: 'odd', customId: request.customId } : null;
    const content = Buffer.from('{"prompt":"a"}\n{"prompt":"b"}\n');
    expect(await validate(content, { threads: 2, inspect })).toMatchObject({ total: 2, invalid: 1 });
  });
});
