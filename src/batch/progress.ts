/** Progress of a batch in words: how far, how fast, how much, how long still. Pure. */
import { formatCount, formatDuration } from '../ledger/report.ts';
import type { BatchRecord } from './batch.ts';
import { describeSpent } from './spent.ts';

/** Long enough to smooth the bursts that a per-minute window makes. */
const rateOverMs = 60_000;

/** Lines per second over the last minute; null until something can be said. */
export function createRate(): (done: number, nowMs: number) => number | null {
  const seen: { done: number; nowMs: number }[] = [];
  return (done, nowMs) => {
    seen.push({ done, nowMs });
    while (seen.length > 2 && nowMs - (seen[1]?.nowMs ?? nowMs) > rateOverMs) seen.shift();
    const first = seen[0];
    if (!first || nowMs - first.nowMs < 1000 || done === first.done) return null;
    return ((done - first.done) / (nowMs - first.nowMs)) * 1000;
  };
}

/** `head`: how far, how fast, how long still. `tail`: what came of it. */
export function progressOf(record: BatchRecord, perSecond: number | null): { head: string[]; tail: string[] } {
  const { completed, failed } = record.counts;
  const done = completed + failed;
  const percent = Math.floor((done / Math.max(1, record.total)) * 100);
  const left = record.total - done;
  const isMoving = perSecond !== null && left > 0;
  return {
    head: [
      `${formatCount(done)} of ${formatCount(record.total)} lines (${percent} %)`,
      ...(isMoving ? [`${perSecond >= 10 ? Math.round(perSecond) : perSecond.toFixed(1)}/s`] : []),
      ...(isMoving ? [`${timeLeft((left / perSecond) * 1000)} left`] : []),
    ],
    tail: [
      ...(failed > 0 ? [`${formatCount(failed)} failed`] : []),
      ...(record.held > 0 ? [`${formatCount(record.held)} held for approval`] : []),
      `${formatCount(record.inputTokens + record.outputTokens)} tokens`,
      describeSpent(record),
    ],
  };
}

/** A guess has no tenths of a second. */
function timeLeft(durationMs: number): string {
  return formatDuration(Math.max(1000, durationMs)).replace(/\.\d s$/, ' s');
}

export function describeProgress(record: BatchRecord): string {
  const { head, tail } = progressOf(record, null);
  return `${record.name}  ${[...head, ...tail].join(' · ')}`;
}
