/**
 * Looks at every line of a block and says what validation must know of it, in a form that can be sent between threads:
 * nothing here depends on the lines before. Runs in the thread of validate.ts or in several (check-thread.ts).
 */
import { decodeLines } from './decode.ts';
import { createIdHash } from './id-hash.ts';
import { createInspect, type Inspect, type InspectGrounds } from './inspect.ts';
import { eachLine, type LineBlock } from './lines.ts';
import { parseRequest, type LineProblem, type ParsedLine, type RequestDefaults } from './request.ts';

/** What every thread is told, once. */
export type CheckRules = {
  defaults: RequestDefaults;
  /** Of the hashes of ids: the same for all blocks of a file. */
  hashKey: Uint8Array;
  /** Problems kept of one block; all are counted. */
  maxProblems: number;
};

export type CheckTask = CheckRules & { grounds: InspectGrounds | null };

export type BlockReport = {
  /** Of the custom_ids of the valid lines. */
  hashes: Float64Array<ArrayBuffer>;
  /** Requested model → valid lines, in the order in which they are met. */
  models: [string, number][];
  /** The first ones, by line. */
  problems: LineProblem[];
  /** Code → lines, in the order in which they are met. */
  problemCounts: [string, number][];
};

export type BlockCheck = (block: Pick<LineBlock, 'bytes' | 'firstLine' | 'requestCount'>) => BlockReport;

/** A line as validation sees it: parsed, and nothing said against it. */
export function createLineReader(defaults: RequestDefaults, inspect: Inspect | null) {
  return (text: string, line: number): ParsedLine => {
    const parsed = parseRequest(text, line, defaults);
    const problem = parsed.ok && inspect ? inspect(parsed.request, line, text) : null;
    return problem ? { ok: false, problem } : parsed;
  };
}

export function createBlockCheck({ defaults, hashKey, maxProblems }: CheckRules, inspect: Inspect | null): BlockCheck {
  const read = createLineReader(defaults, inspect);
  const hash = createIdHash(Buffer.from(hashKey));
  return (block) => {
    const hashes = new Float64Array(block.requestCount);
    const models = new Map<string, number>();
    const problems: LineProblem[] = [];
    const problemCounts = new Map<string, number>();
    let valid = 0;
    eachText(block, (text, line) => {
      const parsed = read(text, line);
      if (parsed.ok) {
        const { customId, model } = parsed.request;
        hashes[valid] = hash(customId);
        valid += 1;
        models.set(model, (models.get(model) ?? 0) + 1);
        return;
      }
      const { problem } = parsed;
      problemCounts.set(problem.code, (problemCounts.get(problem.code) ?? 0) + 1);
      if (problems.length < maxProblems) problems.push(problem);
    });
    return {
      hashes: hashes.subarray(0, valid),
      models: [...models],
      problems,
      problemCounts: [...problemCounts],
    };
  };
}

/** A longer string is no longer made in the young part of the heap, and so costs three times as much. */
const textBytes = 96 * 1024;
const newline = 0x0a;

/** Decodes a block in pieces of whole lines, and visits the lines that are not blank. */
function eachText({ bytes, firstLine }: Parameters<BlockCheck>[0], visit: (text: string, line: number) => void): void {
  let line = firstLine;
  for (let from = 0; from <= bytes.length;) {
    const to = endOfPiece(bytes, from);
    line = eachLine({ text: decodeLines(bytes.subarray(from, to)), firstLine: line }, visit);
    from = to + 1;
  }
}

/** A newline's place, or the end; behind it where one line alone is longer than a piece. */
function endOfPiece(bytes: Buffer, from: number): number {
  if (bytes.length - from <= textBytes) return bytes.length;
  const before = bytes.lastIndexOf(newline, from + textBytes);
  if (before >= from) return before;
  const behind = bytes.indexOf(newline, from + textBytes);
  return behind === -1 ? bytes.length : behind;
}

export function inspectOn(grounds: InspectGrounds | null): Inspect | null {
  return grounds && createInspect(grounds.offers, grounds.rules);
}
