/**
 * A batch keeps the options that it was begun with: half of its lines are answered by them. Where the same command says
 * others, that is told, so that nobody relies on them.
 */
import type { BatchOptions, NewBatch } from './batch.ts';

const flags = {
  model: '--model',
  attempts: '--attempts',
  skipInvalid: '--skip-invalid',
  pinModels: '--pin-models',
  stream: '--stream',
  dropUnsupported: '--drop-unsupported',
  ordered: '--ordered',
  priority: '--priority',
} as const;

/** `without --ordered, with --attempts 5`: the options that stay, of those that are asked for otherwise now; or null. */
export function describeKept(kept: BatchOptions, asked: NewBatch['options']): string | null {
  const names = Object.keys(flags) as (keyof typeof flags)[];
  const differ = names.filter((name) => asked[name] !== undefined && asked[name] !== kept[name]);
  if (differ.length === 0) return null;
  return differ
    .map((name) => {
      const value = kept[name];
      if (value === null || value === false) return `without ${flags[name]}`;
      return value === true ? `with ${flags[name]}` : `with ${flags[name]} ${value}`;
    })
    .join(', ');
}
