/** Progress of a batch in words: how far, how fast, how much, how long still. Pure. */
import { formatCount, formatDuration, formatUsd } from '../ledger/report.ts';
import type { BatchRecord } from './batch.ts';

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

export function describeProgress(record: BatchRecord, perSecond: number | null): string {
  const { completed, failed } = record.counts;
  const done = completed + failed;
  const percent = Math.floor((done / Math.max(1, record.total)) * 100);
  const parts = [
    `${formatCount(done)}/${formatCount(record.total)} lines (${percent} %)`,
    ...(failed > 0 ? [`${formatCount(failed)} failed`] : []),
    ...(perSecond === null ? [] : [`${perSecond >= 10 ? Math.round(perSecond) : perSecond.toFixed(1)}/s`]),
    `${formatCount(record.inputTokens + record.outputTokens)} tokens`,
    formatUsd(record.spentNanoUsd),
    ...(perSecond === null ? [] : [`${formatDuration(((record.total - done) / perSecond) * 1000)} left`]),
  ];
  return `${record.name}  ${parts.join(' · ')}`;
}
