/** Keys' standings as aligned lines, for progress. */
import { formatUsd } from '../ledger/report.ts';
import type { Standing } from './standing.ts';

/** Whether a state is as it should be, passes by itself, or wants a person. */
export type KeyTone = 'good' | 'waiting' | 'bad';
export type DescribedKey = { name: string; state: string; tone: KeyTone; rest: string };

/** Names and states are padded to the same width, so that what follows stands in columns. */
export function describeKeys(keys: readonly { name: string; standing: Standing }[]): DescribedKey[] {
  const rows = keys.map(({ name, standing }) => ({ name, state: stateOf(standing), standing }));
  const nameWidth = Math.max(0, ...rows.map(({ name }) => name.length));
  const stateWidth = Math.max(0, ...rows.map(({ state }) => state.length));
  return rows.map(({ name, state, standing }) => ({
    name: name.padEnd(nameWidth),
    state: state.padEnd(stateWidth),
    tone: standing.standing === 'active' ? 'good' : standing.standing === 'retired' ? 'bad' : 'waiting',
    rest: `${String(standing.inFlight).padStart(3)} in flight · ${formatUsd(standing.spentNanoUsd)}`,
  }));
}

/** `active`, `half-open`, `cooling (rpm_exceeded) until 21:03:14 UTC`. */
function stateOf({ standing, reason, untilMs }: Standing): string {
  if (standing === 'active') return standing;
  const until = untilMs === null ? '' : ` until ${new Date(untilMs).toISOString().slice(11, 19)} UTC`;
  return `${standing.replace('_', '-')}${reason === '' ? '' : ` (${reason})`}${until}`;
}
