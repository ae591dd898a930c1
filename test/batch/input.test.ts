import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdtemp, readFile, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openInput } from '../../src/batch/input.ts';

let directory: string;
let spoolDir: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'nightshift-input-'));
  spoolDir = path.join(directory, 'spool');
});
afterEach(() => rm(directory, { recursive: true }));

const line = '{"prompt":"hello"}\n';

async function save(name: string, content: string | Buffer): Promise<string> {
  const file = path.join(directory, name);
  await writeFile(file, content);
  return file;
}

const open = (source: string) => openInput(source, { spoolDir });

describe('an input file', () => {
  it.each([
    ['X.jsonl', 'X'],
    ['gsm8k-test.batch.jsonl', 'gsm8k-test.batch'],
    ['X.jsonl.gz', 'X'],
    ['X.ndjson', 'X'],
    ['prompts', 'prompts'],
    ['.jsonl', '.jsonl'],
  ])('called %s names its batch %s', async (file, name) => {
    expect(await open(await save(file, line))).toMatchObject({ name, compressed: false, sizeBytes: line.length });
  });

  it('is known as gzip by its content, not by its name', async () => {
    expect(await open(await save('X.jsonl', gzipSync(line)))).toMatchObject({ compressed: true, name: 'X' });
  });

  it('may begin with a byte order mark and hold any UTF-8', async () => {
    await expect(open(await save('X.jsonl', `\ufeff{"prompt":"漢字 🌙"}\n`))).resolves.toMatchObject({ name: 'X' });
  });
});

describe('what cannot be an input file is refused by name, with the cure', () => {
  it.each<[string, Buffer, string]>([
    ['UTF-16 with a mark', Buffer.from(`\ufeff${line}`, 'utf16le'), 'UTF-16 text; convert it: iconv'],
    ['UTF-16 without a mark', Buffer.from(line, 'utf16le'), 'UTF-16 text; convert it: iconv'],
    ['a zip archive', Buffer.from('PK\x03\x04abc'), 'a zip archive or an Excel workbook'],
    ['a Parquet file', Buffer.from('PAR1abc'), 'a Parquet file'],
    ['bytes', Buffer.from([1, 2, 0, 0, 0, 0, 0, 9]), 'a binary file'],
    ['bytes in gzip', gzipSync(Buffer.from([1, 2, 0, 0, 0, 0, 0, 9])), 'a binary file'],
    ['gzip in gzip', gzipSync(gzipSync(line)), 'gzip inside gzip'],
  ])('%s', async (_, content, message) => {
    const file = await save('X.jsonl', content);
    await expect(open(file)).rejects.toMatchObject({
      code: 'input',
      message: expect.stringContaining(`${file}: expected JSONL text, but it looks like ${message}`) as string,
    });
  });

  it('a directory, a missing file, an empty file, a pipe, cut gzip', async () => {
    await expect(open(directory)).rejects.toThrow(`${directory} is a directory; name the file in it`);
    await expect(open(path.join(directory, 'none'))).rejects.toThrow('there is no such file');
    await expect(open(await save('X.jsonl', ''))).rejects.toThrow('is empty; expected one JSON object per line');
    await expect(open(await save('X.gz', gzipSync(line).subarray(0, 10)))).rejects.toThrow('ends too early');
    const pipe = path.join(directory, 'pipe');
    spawnSync('mkfifo', [pipe]);
    await expect(open(pipe)).rejects.toThrow('can be read once only; give it as standard input');
    await expect(open('/dev/null')).rejects.toThrow('a pipe or a device');
  });

  it.skipIf(process.getuid?.() === 0)('a file that may not be read', async () => {
    const file = await save('X.jsonl', line);
    await chmod(file, 0);
    await expect(open(file)).rejects.toMatchObject({
      code: 'input',
      message: expect.stringContaining('chmod') as string,
    });
  });
});

describe('standard input', () => {
  const spool = (...pieces: (string | Buffer)[]) => openInput('-', { spoolDir, stdin: Readable.from(pieces) });

  it('is kept in a file named by its content: the same content is the same file', async () => {
    const first = await spool(line, line);
    const again = await spool(Buffer.from(line + line));
    const other = await spool(line);
    expect(again).toMatchObject({ path: first.path, inode: first.inode, name: first.name });
    expect(other.path).not.toBe(first.path);
    expect(path.basename(first.path)).toMatch(/^[0-9a-f]{64}\.jsonl$/);
    expect(first).toMatchObject({
      source: 'standard input',
      name: expect.stringMatching(/^stdin-[0-9a-f]{12}$/) as string,
    });
    expect(await readFile(first.path, 'utf8')).toBe(line + line);
    expect(await readdir(spoolDir)).toHaveLength(2);
    await expect(first.assertUnchanged()).resolves.toBeUndefined();
  });

  it('may be gzip, and may not be empty', async () => {
    expect(await spool(gzipSync(line))).toMatchObject({ compressed: true });
    await expect(spool()).rejects.toThrow('standard input is empty');
  });

  it('that breaks off leaves no file', async () => {
    const broken = Readable.from(
      (function* () {
        yield line;
        throw new Error('the sender went away');
      })(),
    );
    await expect(openInput('-', { spoolDir, stdin: broken })).rejects.toThrow('the sender went away');
    expect(await readdir(spoolDir)).toEqual([]);
  });

  it('that cannot be kept says where and what to do', async () => {
    const file = await save('file', '');
    await expect(
      openInput('-', { spoolDir: path.join(file, 'spool'), stdin: Readable.from([line]) }),
    ).rejects.toMatchObject({ code: 'disk', message: expect.stringContaining('--data') as string });
  });
});

describe('a change of the file while it is being read', () => {
  it('is noticed by size, by time, by replacement and by absence', async () => {
    const file = await save('X.jsonl', line);
    const change = async (make: () => Promise<unknown>) => {
      const input = await open(file);
      await input.assertUnchanged();
      await make();
      return expect(input.assertUnchanged()).rejects;
    };
    await (
      await change(() => writeFile(file, line + line))
    ).toThrow(/size was 19 bytes and is 38.*nothing done is lost/);
    await (await change(() => utimes(file, 1, 1))).toThrow('it was written at 1970-01-01T00:00:01');
    await copyFile(file, `${file}.new`);
    await (await change(() => rename(`${file}.new`, file))).toThrow('replaced by another file');
    await (await change(() => rm(file))).toThrow('is gone while it was being read');
  });
});
