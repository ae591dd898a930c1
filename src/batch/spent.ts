/**
 * What a batch has cost, one figure for everyone who tells it. The ledger is the exact source. Redis counts the same
 * known costs beside what budgets count, and stands in where a part of the ledger, or all of it, is elsewhere.
 */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { formatUsd } from '../ledger/report.ts';
import type { LedgerStore, Totals } from '../ledger/store.ts';
import { parseJson } from '../provider/answer.ts';
import type { BatchRecord } from './batch.ts';
import { isElsewhere, otherLedgers } from './ledgers.ts';

export type Spent = Pick<Totals, 'inputTokens' | 'outputTokens' | 'costNanoUsd' | 'costUnknown' | 'possiblyBilled'>;

/** The costs that are known, as Redis counts them. */
export function knownNanoUsd({ spentNanoUsd, unsureNanoUsd }: Pick<BatchRecord, 'spentNanoUsd' | 'unsureNanoUsd'>) {
  // A call that an earlier version gave up is not in it, but is taken out of it when its answer comes after all.
  return spentNanoUsd - Math.max(0, unsureNanoUsd);
}

type Counted = Pick<BatchRecord, 'spentNanoUsd' | 'unsureNanoUsd' | 'possiblyBilled' | 'counts'>;

/** The same, or null where no cost is known of what was, or may have been, billed. */
export function toldNanoUsd(record: Counted): number | null {
  const known = knownNanoUsd(record);
  // Redis does not know which calls had no price: where it knows of no cost at all, none is told.
  return known === 0 && record.counts.completed + record.possiblyBilled > 0 ? null : known;
}

/** `$1.20`, `$1.20 + up to $0.05 of unknown cost`, `unknown, up to $0.05`, `unknown` */
export function describeSpent(record: Counted): string {
  const told = toldNanoUsd(record);
  const unsure = record.unsureNanoUsd > 0 ? `up to ${formatUsd(record.unsureNanoUsd)}` : null;
  if (told === null) return unsure ? `unknown, ${unsure}` : 'unknown';
  return formatUsd(told) + (unsure ? ` + ${unsure} of unknown cost` : '');
}

/** The money of the whole batch, also where `ledger` has only a part of its rows. */
export function moneyOf(record: BatchRecord, ledger: Spent): Pick<Spent, 'costNanoUsd' | 'possiblyBilled'> {
  return otherLedgers(record).length === 0 ? ledger : inRedis(record);
}

/** Of a finished batch: from its ledger where that is this one, else from its manifest, else from Redis. */
export async function readSpent(record: BatchRecord, store: LedgerStore): Promise<Spent> {
  if (!isElsewhere(record, store)) return store.batchSummary(record.batchId);
  return (await inManifest(record)) ?? inRedis(record);
}

const sumsSchema = z.object({
  batchId: z.string(),
  status: z.string(),
  usage: z.object({ inputTokens: z.number(), outputTokens: z.number() }),
  costUsd: z.number().nullable(),
  costUnknown: z.number(),
  possiblyBilled: z.number(),
});

/** Null where there is none, or none of the batch's end. */
async function inManifest({ manifestFile, batchId, status }: BatchRecord): Promise<Spent | null> {
  const text = await readFile(manifestFile, 'utf8').catch(() => '');
  const parsed = sumsSchema.safeParse(parseJson(text));
  if (!parsed.success || parsed.data.batchId !== batchId || parsed.data.status !== status) return null;
  const { usage, costUsd, costUnknown, possiblyBilled } = parsed.data;
  return {
    ...usage,
    costNanoUsd: costUsd === null ? null : BigInt(Math.round(costUsd * 1e9)),
    costUnknown,
    possiblyBilled,
  };
}

function inRedis(record: BatchRecord): Spent {
  const { inputTokens, outputTokens, possiblyBilled } = record;
  const told = toldNanoUsd(record);
  return {
    inputTokens,
    outputTokens,
    costNanoUsd: told === null ? null : BigInt(told),
    costUnknown: 0,
    possiblyBilled,
  };
}
