/** Numbers on the command line: dollars, counts, concurrency. */
import { InvalidArgumentError } from 'commander';
import { nanoUsdPerUsd } from '../config.ts';

/** Nano USD. */
export function parseUsd(text: string): number {
  const usd = Number(text);
  if (!Number.isFinite(usd) || usd <= 0) throw new InvalidArgumentError('expected dollars, such as 20 or 0.5');
  return Math.round(usd * nanoUsdPerUsd);
}

export function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('expected a whole number of at least 1');
  return count;
}

export function parseConcurrency(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : parseCount(text);
}
