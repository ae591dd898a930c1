import { expect, test } from 'vitest';
import { createSeats } from '../../workers/seats.ts';

test('a seat that is taken is not free until it is left, and whoever waits is told', () => {
  const seats = createSeats(2);
  let told = 0;
  seats.onFree(() => (told += 1));
  seats.take();
  seats.take();
  expect(seats.free()).toBe(0);
  expect(told).toBe(0);
  seats.leave();
  expect([seats.free(), told]).toEqual([1, 1]);
});
