import { expect, test } from 'vitest';
import { createSeats } from '../../workers/seats.ts';

/** Work that lasts until told otherwise. */
function piece(log: string[], name: string) {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  return {
    work: () => {
      log.push(name);
      return promise;
    },
    end: () => resolve(name),
    fail: () => reject(new Error(name)),
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('no more work is under way than there are seats, and the others follow in order', async () => {
  const seats = createSeats(2);
  const log: string[] = [];
  const pieces = ['a', 'b', 'c', 'd'].map((name) => piece(log, name));
  const results = pieces.map(({ work }) => seats.sit(work));
  await settled();
  expect(log).toEqual(['a', 'b']);
  pieces[1]!.end();
  await settled();
  expect(log).toEqual(['a', 'b', 'c']);
  for (const { end } of pieces) end();
  expect(await Promise.all(results)).toEqual(['a', 'b', 'c', 'd']);
});

test('work that fails gives its seat on', async () => {
  const seats = createSeats(1);
  const log: string[] = [];
  const bad = piece(log, 'bad');
  const good = piece(log, 'good');
  const results = Promise.allSettled([seats.sit(bad.work), seats.sit(good.work)]);
  bad.fail();
  await settled();
  expect(log).toEqual(['bad', 'good']);
  good.end();
  expect((await results).map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
});

test('work that throws before it begins gives its seat on', async () => {
  const seats = createSeats(1);
  const thrown = seats.sit(() => {
    throw new Error('at once');
  });
  await expect(thrown).rejects.toThrow('at once');
  expect(await seats.sit(() => Promise.resolve('next'))).toBe('next');
});

test('a seat that came free stays free until it is taken', async () => {
  const seats = createSeats(2);
  await Promise.all([1, 2, 3, 4].map((n) => seats.sit(() => Promise.resolve(n))));
  const log: string[] = [];
  const pieces = ['a', 'b', 'c'].map((name) => piece(log, name));
  const results = pieces.map(({ work }) => seats.sit(work));
  await settled();
  expect(log).toEqual(['a', 'b']);
  for (const { end } of pieces) end();
  await Promise.all(results);
});
