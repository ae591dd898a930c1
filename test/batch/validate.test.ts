import { createHash } from 'node:crypto';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openInput } from '../../src/batch/input.ts';
import { validateInput, type ValidationOptions } from '../../src/batch/validate.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-validate-'));
});
afterEach(() => rm(directory, { recursive: true }));

async function save(content: string | Buffer | (string | object)[]) {
  const file = path.join(directory, 'X.jsonl');
  const lines = (all: (string | object)[]) =>
    all.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
  await writeFile(file, Array.isArray(content) ? lines(content) : content);
  return openInput(file, { spoolDir: directory });
}

async function validate(content: Parameters<typeof save>[0], options: Partial<ValidationOptions> = {}) {
  return validateInput(await save(content), { defaults: { model: 'fast' }, spoolDir: directory, ...options });
}

describe('validateInput', () => {
  it('counts requests, models and physical lines, and takes the digest of the file', async () => {
    const content = '\ufeff{"prompt":"a"}\r\n\n{"prompt":"b","model":"reasoning"}\n{"prompt":"c"}';
    const validation = await validate(content);
    expect(validation).toMatchObject({
      total: 3,
      valid: 3,
      invalid: 0,
      problems: [],
      lines: 4,
      lineCountUpperBound: 5,
      sizeBytes: Buffer.byteLength(content),
      sha256: createHash('sha256').update(content).digest('hex'),
    });
    expect([...validation.models]).toEqual([
      ['fast', 2],
      ['reasoning', 1],
    ]);
  });

  it('takes the digest of a gzip file as it lies on disk', async () => {
    const bytes = gzipSync(JSON.stringify({ prompt: 'a' }));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    expect(await validate(bytes)).toMatchObject({ total: 1, sha256, sizeBytes: bytes.length });
  });

  it('names the first problems by line, and counts them all by code', async () => {
    const validation = await validate(['{', { prompt: 'a' }, 'x', { prompt: 1 }, { promt: 'a' }], { maxProblems: 2 });
    expect(validation).toMatchObject({ total: 5, valid: 1, invalid: 4 });
    expect(validation.problems.map(({ line }) => line)).toEqual([1, 3]);
    expect(Object.fromEntries(validation.problemCounts)).toEqual({
      invalid_json_line: 2,
      invalid_value: 1,
      unknown_parameter: 1,
    });
  });

  it('reports duplicates among the other problems, each with the line it repeats', async () => {
    const lines = [
      { prompt: 'a', custom_id: 'x' },
      { prompt: 'a', custom_id: 'x' },
      '{',
      { prompt: 'a', custom_id: 'x' },
    ];
    const validation = await validate(lines);
    expect(validation).toMatchObject({ total: 4, valid: 1, invalid: 3 });
    expect(validation.problems).toMatchObject([
      {
        line: 2,
        code: 'duplicate_custom_id',
        customId: 'x',
        message: expect.stringContaining('"x" as on line 1') as string,
      },
      { line: 3, code: 'invalid_json_line' },
      { line: 4, code: 'duplicate_custom_id' },
    ]);
    expect([1, 2, 3, 4, 99].map(validation.isDuplicate)).toEqual([false, true, false, true, false]);
    expect((await validate(lines, { maxProblems: 1 })).problems.map(({ line }) => line)).toEqual([2]);
  });

  it('knows that a line number is the custom_id of a line that has none', async () => {
    const { problems } = await validate([{ prompt: 'a', custom_id: '2' }, { prompt: 'b' }]);
    expect(problems).toMatchObject([{ line: 2, customId: '2', code: 'duplicate_custom_id' }]);
    expect(problems[0]?.message).toBe(
      'expected another custom_id on each line, got none: line 2 is called by its number, "2" as on line 1; give it one',
    );
  });

  it('says of a line number that is a custom_id only where the line itself has one, that it is repeated', async () => {
    const { problems } = await validate([
      { prompt: 'a', custom_id: '2' },
      { prompt: 'b', custom_id: '2' },
    ]);
    expect(problems.map(({ message }) => message)).toEqual([
      'expected another custom_id on each line, got "2" as on line 1',
    ]);
  });

  it('lets the good line with a custom_id stand where only a bad one had it before', async () => {
    const { problems } = await validate([
      { prompt: 1, custom_id: 'x' },
      { prompt: 'b', custom_id: 'x' },
    ]);
    expect(problems).toMatchObject([{ line: 1, code: 'invalid_value', customId: 'x' }]);
  });

  it('finds duplicates across runs that went to disk, and across chunks', async () => {
    const lines = Array.from({ length: 20_000 }, (_, index) => ({ prompt: 'x'.repeat(20), custom_id: `id-${index}` }));
    lines[19_000] = { prompt: 'again', custom_id: 'id-5' };
    const validation = await validate(lines, { hashesInMemory: 1000 });
    expect(validation.problems).toMatchObject([{ line: 19_001, customId: 'id-5' }]);
    expect(validation).toMatchObject({ total: 20_000, invalid: 1 });
  });

  it('refuses a file of blank lines', async () => {
    await expect(validate('\n \r\n')).rejects.toMatchObject({
      code: 'input',
      message: expect.stringContaining('got 2 blank lines') as string,
    });
  });

  it('notices that the file changes while it is read, and tells how far it is', async () => {
    const input = await save([{ prompt: 'a' }]);
    const seen: { bytesRead: number; lines: number }[] = [];
    await validateInput(input, { defaults: { model: 'm' }, spoolDir: directory, onProgress: (at) => seen.push(at) });
    expect(seen).toEqual([{ bytesRead: input.sizeBytes, lines: 1 }]);
    await appendFile(input.path, '{"prompt":"b"}\n');
    await expect(validateInput(input, { defaults: { model: 'm' }, spoolDir: directory })).rejects.toThrow(
      'changed while',
    );
  });

  it('counts at most a thousand models by name', async () => {
    const lines = Array.from({ length: 1010 }, (_, index) => ({ prompt: 'a', model: `model-${index}` }));
    const { models } = await validate(lines);
    expect(models.size).toBe(1001);
    expect(models.get('…')).toBe(10);
  });
});

describe('the examples', () => {
  it.each([
    ['prompts.jsonl', { fast: 90, reasoning: 30 }],
    ['short.jsonl', { fast: 8, reasoning: 2 }],
  ])('%s are good input, and every line says how long its answer may be', async (file, models) => {
    const input = await openInput(path.join(import.meta.dirname, '../../examples', file), { spoolDir: directory });
    const validation = await validateInput(input, { defaults: { model: null }, spoolDir: directory });
    expect(validation.invalid).toBe(0);
    expect(Object.fromEntries(validation.models)).toEqual(models);
    for (const line of (await readFile(input.path, 'utf8')).trim().split('\n')) expect(line).toContain('"max_tokens"');
  });
});
