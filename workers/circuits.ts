/** The circuits of the providers behind a line's candidates, asked together. */
import type { Resolved } from './candidates.ts';
import type { WorkerContext } from './context.ts';

/** Candidates whose provider's circuit lets a call through. */
export function openCircuits(ctx: WorkerContext, candidates: Resolved[]) {
  let shortestWaitMs = Number.POSITIVE_INFINITY;
  let gaveUp: string | null = null;
  const passing = new Set<string>();
  for (const provider of providersOf(candidates)) {
    const ask = ctx.circuitOf(provider).ask(performance.now());
    if (ask.tag === 'go') passing.add(provider);
    else if (ask.tag === 'wait') shortestWaitMs = Math.min(shortestWaitMs, ask.waitMs);
    else gaveUp = ask.cause;
  }
  if (passing.size > 0) {
    return { tag: 'go' as const, candidates: candidates.filter(({ key }) => passing.has(key.provider.name)) };
  }
  if (shortestWaitMs < Number.POSITIVE_INFINITY) return { tag: 'wait' as const, waitMs: shortestWaitMs };
  return { tag: 'give_up' as const, cause: gaveUp ?? 'no provider' };
}

/** No call will tell how they are: the next that asks may try them. */
export function leaveUndecided(ctx: WorkerContext, providers: Iterable<string>): void {
  for (const provider of providers) ctx.circuitOf(provider).undecided();
}

export function providersOf(candidates: Resolved[]): Set<string> {
  return new Set(candidates.map(({ key }) => key.provider.name));
}
