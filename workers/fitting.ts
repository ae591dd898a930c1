/**
 * Pre-flight of one request against its candidates: those whose model would surely refuse it are left out; with
 * `--drop-unsupported` what a model does not take is left out instead.
 */
import type { BatchOptions } from '../src/batch/batch.ts';
import { preflight, type PreflightProblem } from '../src/provider/preflight.ts';
import type { Resolved } from './candidates.ts';

export type Fitting = { tag: 'some'; candidates: Resolved[] } | { tag: 'unfit'; problem: PreflightProblem };

/** `unfit`: no candidate would take it; the first problem of the first one. */
export function fitting(
  candidates: Resolved[],
  body: Record<string, unknown>,
  { dropUnsupported }: Pick<BatchOptions, 'dropUnsupported'>,
): Fitting {
  // Keys of one provider mostly offer the same model: it is looked at once.
  const seen = new Map<string, ReturnType<typeof preflight>>();
  let problem: PreflightProblem | undefined;
  const fit: Resolved[] = [];
  for (const candidate of candidates) {
    const { kind, name } = candidate.key.provider;
    const of = `${name} ${candidate.model}`;
    let result = seen.get(of);
    if (!result) seen.set(of, (result = preflight(kind, candidate.facts, body, { dropUnsupported })));
    if (result.problems.length === 0) fit.push(result.body === body ? candidate : { ...candidate, body: result.body });
    else problem ??= result.problems[0];
  }
  if (fit.length > 0 || !problem) return { tag: 'some', candidates: fit };
  return { tag: 'unfit', problem };
}

export function describeProblem({ field, message }: PreflightProblem): string {
  return `${field}: ${message}`;
}
