/**
 * What happened in the demonstration, in a few lines: read from the manifest, and held against the provider's own
 * count. Pure.
 */
import type { manifestOf } from '../src/batch/manifest.ts';
import { formatCount, formatDuration, formatUsd } from '../src/ledger/report.ts';
import type { Truth } from '../src/simulator/truth.ts';

export type Manifest = ReturnType<typeof manifestOf>;

export function report(
  manifest: Manifest,
  truth: Truth,
  scenario: { windowMs: number; keys: { name: string; rpm: number }[] },
): string {
  return ['What happened, from the manifest:', ...story(manifest), '', 'What the provider counted:']
    .concat(providersCount(manifest, truth, scenario))
    .join('\n');
}

function story(manifest: Manifest): string[] {
  const { counts, attempts, createdAt, writtenAt } = manifest;
  const took = formatDuration(Date.parse(writtenAt) - Date.parse(createdAt));
  const lines = [
    `  ${counts.completed} of ${counts.total} lines completed and ${counts.failed} failed, ` +
      `in ${took}, with ${formatCount(attempts.total)} calls for ${usd(manifest.costUsd)}.`,
  ];
  for (const { name, byOutcome } of manifest.keys) {
    const answers = `${byOutcome['completed'] ?? 0} answers`;
    const refusals = { unauthorized: '401, its key was refused', exhausted: '402, its budget was spent' };
    for (const [outcome, meaning] of Object.entries(refusals)) {
      const times = byOutcome[outcome] ?? 0;
      if (times > 0) lines.push(`  ${name} died: ${answers}, then ${times} × ${meaning}. Other keys took those lines.`);
    }
  }
  for (const [requested, models] of Map.groupBy(manifest.models, (model) => model.requested)) {
    const parts = models.map(({ resolved, completed }) => `${resolved} answered ${completed}`);
    lines.push(
      `  "${requested}": ${parts.join(', ')} lines${models.length > 1 ? '; the alias moved in mid-run' : ''}.`,
    );
  }
  const failed = attempts.byOutcome['failed'] ?? 0;
  if (failed > 0) lines.push(`  ${failed} calls failed at the provider and were made again.`);
  return lines;
}

function providersCount(
  manifest: Manifest,
  truth: Truth,
  { windowMs, keys }: { windowMs: number; keys: { name: string; rpm: number }[] },
): string[] {
  const most = keys.map(({ name, rpm }) => `${name} ${truth.keys[name]?.maxInWindow ?? 0} of ${rpm}`);
  const { billed, costNanoUsd, rejected429 } = truth.totals;
  const billedUsd = formatUsd(costNanoUsd);
  const same =
    usd(manifest.costUsd) === billedUsd ? 'the ledger says the same' : `the ledger says ${usd(manifest.costUsd)}`;
  return [
    `  Most calls in any ${windowMs / 1000} s: ${most.join(', ')}. Answers "429 too many requests": ${rejected429}.`,
    `  Billed: ${formatCount(billed)} calls, ${billedUsd}; ${same}.`,
  ];
}

function usd(amount: number | null): string {
  return amount === null ? 'an unknown cost' : formatUsd(Math.round(amount * 1e9));
}
