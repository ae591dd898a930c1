/**
 * The chunks of a batch between the low-water mark and what has been read. Neighbours that are done are one entry, so
 * that what is kept here grows with what is not done and never with the file, also where one line at the file's
 * beginning cannot end for hours.
 *
 * What is not done may lie scattered over all the file: it is looked at in stretches, and a bounded number of them at
 * a time, each time the next ones.
 */
import type { Chunk } from './lines.ts';

export type Place = Omit<Chunk, 'text'>;

export type OpenChunk = Place & { isDone: boolean; losses: number };

export type OpenChunks = {
  /** The next one in the file. */
  add: (place: Place, isDone: boolean) => void;
  /** Known to be done from now on. */
  finish: (chunks: readonly OpenChunk[]) => void;
  /** Takes what is done before everything that is not. */
  takeDone: () => Place | null;
  /** The next ones that are not done; after the last ones come the first. */
  nextUndone: (atMost: number) => OpenChunk[];
  /** The next ones that are not done, in groups whose lines lie close together; after the last ones come the first. */
  nextStretches: () => OpenChunk[][];
  /** Entries: the chunks that are not done, and one for what is done between two of them. */
  count: () => number;
  /** Of the chunks that are not done. */
  sizeBytes: () => number;
};

/** Two kilobytes of done bits; more lines than the producer's window has, which mostly is one stretch. */
const longestStretchLines = 16_384;
/** One line here and there that waits for an approval makes a stretch each. */
const stretchesAtATime = 32;

export function createOpenChunks(): OpenChunks {
  let chunks: OpenChunk[] = [];
  let sizeBytes = 0;
  /** Lines, where the next round of each kind goes on. */
  let undoneFrom = 0;
  let stretchesFrom = 0;

  return {
    add(place, isDone) {
      if (!isDone) sizeBytes += sizeOf(place);
      append(chunks, { ...place, isDone, losses: 0 });
    },
    finish(finished) {
      if (finished.length === 0) return;
      for (const chunk of finished) {
        if (!chunk.isDone) sizeBytes -= sizeOf(chunk);
        chunk.isDone = true;
      }
      const joined: OpenChunk[] = [];
      for (const chunk of chunks) append(joined, chunk);
      chunks = joined;
    },
    takeDone() {
      // All of them are one entry.
      return chunks[0]?.isDone ? (chunks.shift() ?? null) : null;
    },
    nextUndone(atMost) {
      const undone = chunks.filter(({ isDone, firstLine }) => !isDone && firstLine >= undoneFrom);
      undoneFrom = undone[atMost]?.firstLine ?? 0;
      return undone.slice(0, atMost);
    },
    nextStretches() {
      const stretches: OpenChunk[][] = [];
      for (const chunk of chunks) {
        if (chunk.isDone || chunk.firstLine < stretchesFrom) continue;
        const stretch = stretches.at(-1);
        const from = stretch?.[0]?.firstLine ?? chunk.firstLine;
        if (stretch && lineBehind(chunk) - from <= longestStretchLines) stretch.push(chunk);
        else if (stretches.length < stretchesAtATime) stretches.push([chunk]);
        else {
          stretchesFrom = chunk.firstLine;
          return stretches;
        }
      }
      stretchesFrom = 0;
      return stretches;
    },
    count: () => chunks.length,
    sizeBytes: () => sizeBytes,
  };
}

export function lineBehind({ firstLine, lineCount }: Pick<Chunk, 'firstLine' | 'lineCount'>): number {
  return firstLine + lineCount;
}

/** One entry for all that is done in a row. */
function append(chunks: OpenChunk[], chunk: OpenChunk): void {
  const before = chunks.at(-1);
  if (!before?.isDone || !chunk.isDone) {
    chunks.push(chunk);
    return;
  }
  before.lineCount += chunk.lineCount;
  before.requestCount += chunk.requestCount;
  before.endOffset = chunk.endOffset;
}

function sizeOf({ offset, endOffset }: Place): number {
  return endOffset - offset;
}
