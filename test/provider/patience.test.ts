/** When a call is taken for hung, and when it is not. */
import { expect, test } from 'vitest';
import { createPatience, type Patience } from '../../src/provider/patience.ts';

function learn(patience: Patience, answers: number, durationMs: number, maxTokens: number | null = 100): void {
  for (let index = 0; index < answers; index++) patience.learn('m', maxTokens, durationMs);
}

test('a call is hung that lasts several times as long as the slowest answer', () => {
  const patience = createPatience();
  learn(patience, 199, 1000);
  learn(patience, 1, 20_000);
  expect(patience.isHung('m', 100, 79_000)).toBe(false);
  expect(patience.isHung('m', 100, 81_000)).toBe(true);
});

test('of a model that answers at once, a call of some seconds is not hung yet', () => {
  const patience = createPatience();
  learn(patience, 200, 50);
  expect(patience.isHung('m', 100, 4900)).toBe(false);
  expect(patience.isHung('m', 100, 5000)).toBe(true);
});

test('nothing is hung while little is known of the model', () => {
  const patience = createPatience();
  learn(patience, 99, 50);
  expect(patience.isHung('m', 100, 500_000)).toBe(false);
  expect(patience.isHung('another', 100, 500_000)).toBe(false);
});

test('a request for more tokens than any that was answered has its time', () => {
  const patience = createPatience();
  learn(patience, 200, 50, 100);
  expect(patience.isHung('m', 8000, 60_000)).toBe(false);
  expect(patience.isHung('m', null, 60_000)).toBe(false);
  patience.learn('m', null, 50);
  expect(patience.isHung('m', null, 60_000)).toBe(true);
});

test('when many calls are slow it is the provider: at most one in twenty is hung', () => {
  const patience = createPatience();
  learn(patience, 10_000, 50);
  const hung = Array.from({ length: 50 }, () => patience.isHung('m', 100, 60_000)).filter(Boolean).length;
  expect(hung).toBe(10);
  learn(patience, 20, 50);
  expect(patience.isHung('m', 100, 60_000)).toBe(true);
  expect(patience.isHung('m', 100, 60_000)).toBe(false);
});

test('a slowness of long ago is forgotten', () => {
  const patience = createPatience();
  learn(patience, 100, 60_000);
  expect(patience.isHung('m', 100, 200_000)).toBe(false);
  learn(patience, 1000, 50);
  expect(patience.isHung('m', 100, 10_000)).toBe(true);
});
