/**
 * Looks at a whole input file before the first cent is spent: one streaming pass over every line, for a large file in
 * several threads, and a second one only where two lines seem to share a custom_id. Memory does not grow with the file,
 * but for one bit a line, and that only once there is a duplicate. Reports; what to do about bad lines is for the
 * caller.
 */
import { createHash, randomBytes } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import { AppError } from '../errors.ts';
import { createBlockCheck, createLineReader, type BlockReport, type CheckRules } from './check-block.ts';
import { startCheckThreads, threadsFor } from './check-threads.ts';
import { DuplicateFinder } from './duplicates.ts';
import type { InputFile } from './input.ts';
import { eachLine, readBlocks, readChunks, type LineBlock } from './lines.ts';
import type { Inspect } from './inspect.ts';
import type { LineProblem, ParsedLine, RequestDefaults } from './request.ts';

export type Validation = {
  /** Requests: lines that are not blank. */
  total: number;
  valid: number;
  invalid: number;
  /** The first ones, by line. */
  problems: LineProblem[];
  /** Code → lines. */
  problemCounts: Map<string, number>;
  /** Of the file's bytes as they lie on disk. */
  sha256: string;
  /** Requested model → lines, duplicates included. Names beyond the first thousand are counted together as "…". */
  models: Map<string, number>;
  sizeBytes: number;
  /** Physical lines. */
  lines: number;
  /** What one bit a line must hold: lines are numbered from 1. */
  lineCountUpperBound: number;
  /** Whether an earlier valid line has this line's custom_id: what `parseRequest` alone cannot see. */
  isDuplicate: (line: number) => boolean;
};

export type ValidationOptions = {
  defaults: RequestDefaults;
  spoolDir: string;
  /** What else may be wrong with a line that can be read. */
  inspect?: Inspect | undefined;
  /** Default 20. */
  maxProblems?: number;
  /** After every chunk of the first pass; `bytesRead` of the file's `sizeBytes` on disk. */
  onProgress?: (progress: { bytesRead: number; lines: number }) => void;
  /** See duplicates.ts. */
  hashesInMemory?: number;
  /** That look at lines. Default: what the machine has and the file is worth. */
  threads?: number;
};

/** node:diagnostics_channel: a message when an input has been looked at whole. */
export const validatedChannel = 'nightshift:validated';
const validated = channel(validatedChannel);

/** What one thread is given at a time: enough that the giving costs little beside the work. */
const blockLimits = { fromOffset: 0, fromLine: 1, maxLines: 65_536, maxBytes: 512 * 1024 };
const mostModels = 1000;
const otherModels = '…';

/** Errors: `input` when the file holds no request, cannot be read to its end, or changes meanwhile; `disk`. */
export async function validateInput(input: InputFile, options: ValidationOptions): Promise<Validation> {
  const { defaults, spoolDir, hashesInMemory, onProgress } = options;
  const inspect = options.inspect ?? null;
  const hashKey = randomBytes(8);
  using finder = new DuplicateFinder({ spoolDir, hashKey, ...(hashesInMemory !== undefined && { hashesInMemory }) });
  const rules = { defaults, hashKey, maxProblems: options.maxProblems ?? 20 };
  const problems = new ProblemList(rules.maxProblems);
  const models = new Map<string, number>();
  const digest = createHash('sha256');
  let bytesRead = 0;
  let lines = 0;
  let total = 0;

  const take = (report: BlockReport, { lineCount, requestCount }: Omit<LineBlock, 'bytes'>) => {
    finder.addHashes(report.hashes);
    for (const problem of report.problems) problems.keep(problem);
    for (const [code, count] of report.problemCounts) problems.count(code, count);
    for (const [model, count] of report.models) {
      const name = models.size < mostModels || models.has(model) ? model : otherModels;
      models.set(name, (models.get(name) ?? 0) + count);
    }
    lines += lineCount;
    total += requestCount;
    onProgress?.({ bytesRead, lines });
  };
  const onRawBytes = (bytes: Buffer) => {
    digest.update(bytes);
    bytesRead += bytes.length;
  };
  await checkAll(input, { rules, inspect, threads: options.threads, onRawBytes, take });
  if (total === 0) {
    throw new AppError('input', `${input.source}: expected one JSON object per line, got ${lines} blank lines`);
  }

  const duplicates = new LineSet(lines);
  const noun = input.rendered?.kept.format === 'csv' ? 'row' : 'line';
  const readLine = createLineReader(defaults, inspect);
  /** The one that is being visited. */
  let text = '';
  await finder.find(
    (visit) => readIds(input, (visited, line) => readLine((text = visited), line), visit),
    ({ customId, line, firstLine }) => {
      duplicates.add(line);
      const place = `${JSON.stringify(customId)} as on ${noun} ${firstLine}`;
      const isNumbered = customId === String(line) && !('custom_id' in (JSON.parse(text) as object));
      const given = isNumbered ? `none: ${noun} ${line} is called by its number, ${place}; give it one` : place;
      const message = `expected another custom_id on each ${noun}, got ${given}`;
      problems.count('duplicate_custom_id', 1);
      problems.keep({ line, field: 'custom_id', code: 'duplicate_custom_id', message, customId });
    },
  );
  await input.assertUnchanged();
  validated.publish({ source: input.source });
  return {
    total,
    valid: total - problems.total,
    invalid: problems.total,
    problems: problems.first,
    problemCounts: problems.countByCode,
    sha256: digest.digest('hex'),
    models,
    sizeBytes: input.sizeBytes,
    lines,
    lineCountUpperBound: lines + 1,
    isDuplicate: (line) => duplicates.has(line),
  };
}

type CheckAll = {
  rules: CheckRules;
  inspect: Inspect | null;
  threads: number | undefined;
  onRawBytes: (bytes: Buffer) => void;
  take: (report: BlockReport, block: Omit<LineBlock, 'bytes'>) => void;
};

/** Reports on every block, in the order of the file. */
async function checkAll(input: InputFile, { rules, inspect, onRawBytes, take, ...options }: CheckAll): Promise<void> {
  const grounds = inspect?.grounds ?? null;
  // What cannot be told to a thread is done in this one.
  const count = inspect && !grounds ? 1 : (options.threads ?? threadsFor(input));
  const check = createBlockCheck(rules, inspect);
  await using threads = count > 1 ? startCheckThreads(count, { ...rules, grounds }, check, take) : null;
  for await (const block of readBlocks(input, { ...blockLimits, onRawBytes })) {
    if (threads) await threads.add(block);
    else take(check(block), block);
  }
  await threads?.finish();
}

async function readIds(
  input: InputFile,
  read: (text: string, line: number) => ParsedLine,
  visit: (customId: string, line: number) => void,
): Promise<void> {
  for await (const chunk of readChunks(input, blockLimits)) {
    eachLine(chunk, (text, line) => {
      const parsed = read(text, line);
      if (parsed.ok) visit(parsed.request.customId, line);
    });
  }
}

class ProblemList {
  readonly #most: number;
  /** By line. */
  readonly first: LineProblem[] = [];
  readonly countByCode = new Map<string, number>();
  total = 0;

  constructor(most: number) {
    this.#most = most;
  }

  count(code: string, lines: number): void {
    this.total += lines;
    this.countByCode.set(code, (this.countByCode.get(code) ?? 0) + lines);
  }

  /** Only the first ones; does not count. */
  keep(problem: LineProblem): void {
    const last = this.first.at(-1);
    if (this.first.length >= this.#most && (!last || last.line < problem.line)) return;
    // Duplicates come after everything else, whatever their line.
    const place = this.first.findLastIndex(({ line }) => line < problem.line) + 1;
    this.first.splice(place, 0, problem);
    if (this.first.length > this.#most) this.first.pop();
  }
}

/** One bit a line, from the first one that is added. */
class LineSet {
  readonly #lines: number;
  #bits: Uint8Array | null = null;

  constructor(lines: number) {
    this.#lines = lines;
  }

  add(line: number): void {
    this.#bits ??= new Uint8Array((this.#lines >>> 3) + 1);
    this.#bits[line >>> 3] = (this.#bits[line >>> 3] ?? 0) | (1 << (line & 7));
  }

  has(line: number): boolean {
    return ((this.#bits?.[line >>> 3] ?? 0) & (1 << (line & 7))) !== 0;
  }
}
