/**
 * Looks at a whole input file before the first cent is spent: one streaming pass over every line, and a second one
 * only where two lines seem to share a custom_id. Memory does not grow with the file, but for one bit a line, and that
 * only once there is a duplicate. Reports; what to do about bad lines is for the caller.
 */
import { createHash } from 'node:crypto';
import { AppError } from '../errors.ts';
import { DuplicateFinder } from './duplicates.ts';
import type { InputFile } from './input.ts';
import { eachLine, readChunks } from './lines.ts';
import type { Inspect } from './inspect.ts';
import { parseRequest, type LineProblem, type ParsedLine, type RequestDefaults } from './request.ts';

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
};

/** A chunk is text and its lines in memory at once; small enough to stay in the cache, large enough to be rare. */
const chunkLimits = { fromOffset: 0, fromLine: 1, maxLines: 8192, maxBytes: 256 * 1024 };
const mostModels = 1000;
const otherModels = '…';

/** Errors: `input` when the file holds no request, cannot be read to its end, or changes meanwhile; `disk`. */
export async function validateInput(input: InputFile, options: ValidationOptions): Promise<Validation> {
  const { defaults, spoolDir, hashesInMemory, onProgress } = options;
  using finder = new DuplicateFinder({ spoolDir, ...(hashesInMemory !== undefined && { hashesInMemory }) });
  const problems = new ProblemList(options.maxProblems ?? 20);
  const models = new Map<string, number>();
  const digest = createHash('sha256');
  let bytesRead = 0;
  let lines = 0;
  let total = 0;

  const read = (text: string, line: number): ParsedLine => {
    const parsed = parseRequest(text, line, defaults);
    const problem = parsed.ok ? (options.inspect?.(parsed.request, line, text) ?? null) : null;
    return problem ? { ok: false, problem } : parsed;
  };
  const checkLine = (text: string, line: number) => {
    const parsed = read(text, line);
    if (!parsed.ok) return problems.add(parsed.problem);
    const { customId, model } = parsed.request;
    finder.add(customId);
    const name = models.size < mostModels || models.has(model) ? model : otherModels;
    models.set(name, (models.get(name) ?? 0) + 1);
  };
  const onRawBytes = (bytes: Buffer) => {
    digest.update(bytes);
    bytesRead += bytes.length;
  };
  for await (const chunk of readChunks(input, { ...chunkLimits, onRawBytes })) {
    eachLine(chunk, checkLine);
    lines += chunk.lineCount;
    total += chunk.requestCount;
    onProgress?.({ bytesRead, lines });
  }
  if (total === 0) {
    throw new AppError('input', `${input.source}: expected one JSON object per line, got ${lines} blank lines`);
  }

  const duplicates = new LineSet(lines);
  const noun = input.rendered?.kept.format === 'csv' ? 'row' : 'line';
  await finder.find(
    (visit) => readIds(input, read, visit),
    ({ customId, line, firstLine }) => {
      duplicates.add(line);
      const message = `expected another custom_id on each ${noun}, got ${JSON.stringify(customId)} as on ${noun} ${firstLine}`;
      problems.add({ line, field: 'custom_id', code: 'duplicate_custom_id', message, customId });
    },
  );
  await input.assertUnchanged();
  return {
    total,
    valid: total - problems.count,
    invalid: problems.count,
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

async function readIds(
  input: InputFile,
  read: (text: string, line: number) => ParsedLine,
  visit: (customId: string, line: number) => void,
): Promise<void> {
  for await (const chunk of readChunks(input, chunkLimits)) {
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
  count = 0;

  constructor(most: number) {
    this.#most = most;
  }

  add(problem: LineProblem): void {
    this.count += 1;
    this.countByCode.set(problem.code, (this.countByCode.get(problem.code) ?? 0) + 1);
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
