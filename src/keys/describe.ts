/** A key's standing in one short line, for progress and status. */
import { formatUsd } from '../ledger/report.ts';
import type { Standing } from './standing.ts';

export function describeKey(name: string, standing: Standing): string {
  const until = standing.untilMs === null ? '' : ` until ${new Date(standing.untilMs).toISOString().slice(11, 19)} UTC`;
  const reason = standing.reason === '' ? '' : ` (${standing.reason})`;
  const state = standing.standing === 'active' ? 'active' : `${standing.standing.replace('_', '-')}${reason}${until}`;
  return `${name}  ${state} · ${standing.inFlight} in flight · ${formatUsd(standing.spentNanoUsd)}`;
}
