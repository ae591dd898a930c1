import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { readdir, readFile, writeFile, stat } from 'node:fs/promises';
import path from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { putInOrder } from '../../src/batch/ordered.ts';
import { errorLine, outputLine } from '../../src/batch/result-line.ts';
import { lineRef } from '../../src/keys/intent.ts';
import { startProcess } from '../support/process.ts';
import { testDirectory } from './world.ts';

const at = testDirectory();
let count = 0;

/** A result as it stands in an output file. */
function resultOf(line: number, content: string): string {
  const attemptId = `${lineRef('batch_0123456789abcdef01234567', line)}.0f0f0f0f${line.toString(36)}`;
  return outputLine(attemptId, `request-${line}`, { status: 200, requestId: null, body: JSON.stringify({ content }) });
}

async function order(lines: string[]): Promise<string> {
  const file = at(`${(count += 1)}.jsonl`);
  await writeFile(file, lines.map((line) => `${line}\n`).join(''));
  await putInOrder(file);
  return readFile(file, 'utf8');
}

const joined = (lines: string[]) => lines.map((line) => `${line}\n`).join('');

describe('putting results in order', () => {
  it('sorts them by their line of the input, as numbers', async () => {
    const lines = [10, 2, 33, 1, 9, 100].map((line) => resultOf(line, `answer ${line}`));
    const sorted = [1, 2, 9, 10, 33, 100].map((line) => resultOf(line, `answer ${line}`));
    expect(await order(lines)).toBe(joined(sorted));
  });

  it('sorts results of lines that no call answered', async () => {
    const error = (line: number) =>
      errorLine(lineRef('batch_ab', line), null, { code: 'batch_expired', message: 'late', line }, null, String);
    expect(await order([error(12), error(3)])).toBe(joined([error(3), error(12)]));
  });

  it('goes by the result’s own id, not by what its body holds', async () => {
    const lines = [2, 1].map((line) => resultOf(line, `{"id":"batch_req_x-${10 - line}`));
    expect(await order(lines)).toBe(joined(lines.toReversed()));
  });

  it('leaves an empty file empty', async () => {
    expect(await order([])).toBe('');
  });

  it('puts lines in order that are longer than what is read at once', async () => {
    const lines = [3, 1, 2].map((line) => resultOf(line, `${line}`.repeat(1_500_000)));
    expect((await order(lines)) === joined([lines[1]!, lines[2]!, lines[0]!])).toBe(true);
  });

  it('finds a line’s end and its id wherever a read ends', async () => {
    // The second line begins so that the read of 1 MiB ends before, in and behind its id.
    for (const before of [-2, -1, 0, 1, 20, 45, 60]) {
      const head = Buffer.byteLength(`${resultOf(2, '')}\n`);
      const lines = [resultOf(2, 'x'.repeat(1024 * 1024 - head - before)), resultOf(1, 'first'), resultOf(3, 'last')];
      expect((await order(lines)) === joined([lines[1]!, lines[0]!, lines[2]!])).toBe(true);
    }
  });

  it('keeps every byte of every line, for any content and any order', async () => {
    const contents = fc.uniqueArray(
      fc.record({ line: fc.integer({ min: 1, max: 2 ** 31 }), text: fc.string({ unit: 'grapheme' }) }),
      {
        selector: ({ line }) => line,
        maxLength: 50,
      },
    );
    await fc.assert(
      fc.asyncProperty(contents, async (results) => {
        const sorted = results.toSorted((a, b) => a.line - b.line).map(({ line, text }) => resultOf(line, text));
        expect(await order(results.map(({ line, text }) => resultOf(line, text)))).toBe(joined(sorted));
      }),
      { numRuns: 40 },
    );
  });

  it('does it again to the same end', async () => {
    const file = at('again.jsonl');
    const lines = [2, 1, 3].map((line) => resultOf(line, 'x'));
    await writeFile(file, joined(lines));
    await putInOrder(file);
    const first = await readFile(file, 'utf8');
    await putInOrder(file);
    expect(await readFile(file, 'utf8')).toBe(first);
  });

  it('replaces what an earlier try left behind', async () => {
    const file = at('left.jsonl');
    await writeFile(file, joined([2, 1].map((line) => resultOf(line, 'x'))));
    await writeFile(`${file}.ordered`, 'half of a '.repeat(1000));
    await putInOrder(file);
    expect(await readFile(file, 'utf8')).toBe(joined([1, 2].map((line) => resultOf(line, 'x'))));
    expect((await readdir(at('.'))).filter((name) => name.endsWith('.ordered'))).toEqual([]);
  });

  it('names the file that cannot be read', async () => {
    await expect(putInOrder(at('absent.jsonl'))).rejects.toMatchObject({ code: 'disk', message: /absent\.jsonl/ });
  });
});

describe('a crash or a full disk while putting results in order', () => {
  const script = `const { putInOrder } = await import(process.argv[1]); await putInOrder(process.argv[2]);`;
  const args = (file: string) => [
    '--input-type=module',
    '-e',
    script,
    path.join(import.meta.dirname, '../../src/batch/ordered.ts'),
    file,
  ];

  it('leaves the file as it was when the disk takes only a part', async () => {
    const file = at('full.jsonl');
    const before = joined([3, 1, 2].map((line) => resultOf(line, 'x'.repeat(5000))));
    await writeFile(file, before);
    // A real limit of the kernel: a part is written, then no more.
    const limited = spawn('sh', ['-c', 'ulimit -f 8; exec "$@"', 'sh', process.execPath, ...args(file)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    limited.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    const [code] = (await once(limited, 'close')) as [number];
    expect(code).not.toBe(0);
    expect(said).toMatch(/ulimit -f/);
    expect((await readFile(file, 'utf8')) === before).toBe(true);
    expect((await readdir(at('.'))).filter((name) => name.endsWith('.ordered'))).toEqual([]);
  });

  it('leaves one or the other when it is killed', async () => {
    const file = at('killed.jsonl');
    const lines = Array.from({ length: 2000 }, (_, index) => resultOf(2000 - index, 'x'.repeat(3000)));
    const before = joined(lines);
    const after = joined(lines.toReversed());
    await writeFile(file, before);
    const seen = new Set<string>();
    // Kill it once it has begun to write, at whatever point that is.
    for (let life = 0; life < 3; life += 1) {
      const child = startProcess(args(file));
      let isOver = false;
      void child.ended.then(() => (isOver = true));
      const begun = async () =>
        isOver || ((await stat(`${file}.ordered`).catch(() => null))?.size ?? 0) > life * 1_500_000;
      while (!(await begun()));
      await child.kill('SIGKILL');
      const now = await readFile(file, 'utf8');
      expect(now === before || now === after).toBe(true);
      seen.add(now === before ? 'before' : 'after');
    }
    expect(seen.size).toBeGreaterThan(0);
    await putInOrder(file);
    expect((await readFile(file, 'utf8')) === after).toBe(true);
  });
});
