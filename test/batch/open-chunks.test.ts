import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createOpenChunks, lineBehind, type OpenChunks, type Place } from '../../src/batch/open-chunks.ts';

const lineBytes = 10;

function placeOf(firstLine: number, lineCount: number): Place {
  const offset = (firstLine - 1) * lineBytes;
  return { firstLine, lineCount, requestCount: lineCount, offset, endOffset: offset + lineCount * lineBytes };
}

/** All that is not done, in the stretches' order. */
function allUndone(open: OpenChunks): number[] {
  return open
    .nextStretches()
    .flat()
    .map(({ firstLine }) => firstLine);
}

describe('open chunks', () => {
  it('of ten million lines stay a handful where the first line does not end', () => {
    const open = createOpenChunks();
    const chunkLines = 25;
    let most = 0;
    let mostBits = 0;
    for (let line = 1; line < 10_000_000; line += chunkLines) {
      open.add(placeOf(line, chunkLines), false);
      // A window of four hundred chunks; all but the first are done.
      if (line % 10_000 !== 1) continue;
      const stretches = open.nextStretches();
      const bits = stretches.map((chunks) => lineBehind(chunks.at(-1) as Place) - (chunks[0]?.firstLine ?? 0));
      mostBits = Math.max(
        mostBits,
        bits.reduce((sum, lines) => sum + lines, 0),
      );
      open.finish(stretches.flat().filter(({ firstLine }) => firstLine !== 1));
      expect(open.takeDone()).toBeNull();
      most = Math.max(most, open.count());
    }
    expect(most).toBe(2);
    // The held chunk's and the window's; of all that lies between them nothing is read.
    expect(mostBits).toBeLessThan(21_000);
    open.finish(open.nextUndone(1000));
    expect(open.takeDone()).toMatchObject({ firstLine: 1, lineCount: 10_000_000 - (10_000_000 % chunkLines) });
    expect(open.count()).toBe(0);
  });

  it('are looked at in turns where they are many: a bounded number of bits each time, and none is left out', () => {
    const open = createOpenChunks();
    const far = 20_000;
    const lines = Array.from({ length: 100 }, (_, index) => 1 + index * far);
    for (const line of lines) {
      open.add(placeOf(line, 1), false);
      open.add(placeOf(line + 1, far - 1), true);
    }
    const looks = Array.from({ length: 4 }, () => allUndone(open));
    expect(looks.flat()).toEqual(lines);
    expect(Math.max(...looks.map((look) => look.length))).toBe(32);
    expect(allUndone(open)).toEqual(looks[0]);
    const swept = Array.from({ length: 4 }, () => open.nextUndone(30).map(({ firstLine }) => firstLine));
    expect(swept.flat()).toEqual(lines);
    expect(open.nextUndone(30).map(({ firstLine }) => firstLine)).toEqual(swept[0]);
  });

  it('are one entry each and one for what is done between two, in whatever order they end', () => {
    const step = fc.oneof(
      fc.record({ lines: fc.integer({ min: 1, max: 5 }), isDone: fc.boolean() }),
      fc.record({ finish: fc.array(fc.nat(30), { maxLength: 8 }) }),
      fc.constant('take' as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const open = createOpenChunks();
        const isDone = new Map<number, { place: Place; done: boolean }>();
        let [behind, taken] = [1, 1];
        for (const one of steps) {
          if (one === 'take') {
            const place = open.takeDone();
            if (place) {
              expect(place).toMatchObject(placeOf(taken, place.lineCount));
              taken = lineBehind(place);
            }
          } else if ('lines' in one) {
            const place = placeOf(behind, one.lines);
            open.add(place, one.isDone);
            isDone.set(behind, { place, done: one.isDone });
            behind += one.lines;
          } else {
            const undone = open.nextUndone(1000);
            const chunks = undone.filter((_, index) => one.finish.includes(index));
            open.finish(chunks);
            for (const { firstLine } of chunks) (isDone.get(firstLine) as { done: boolean }).done = true;
          }
          const left = [...isDone.values()].filter(({ done }) => !done).map(({ place }) => place);
          expect(allUndone(open)).toEqual(left.map(({ firstLine }) => firstLine));
          expect(open.sizeBytes()).toBe(left.reduce((sum, { lineCount }) => sum + lineCount * lineBytes, 0));
          expect(open.count()).toBeLessThanOrEqual(2 * left.length + 1);
        }
        // What is not done has not been taken, nor anything behind it.
        open.finish(open.nextUndone(1000));
        const last = open.takeDone();
        expect(last ? lineBehind(last) : taken).toBe(behind);
      }),
    );
  });
});
