/**
 * A batch's record in Redis: what was asked (fixed at its creation), where its files are, its status, and the counters
 * that settle.lua and the collector keep.
 *
 *   validating ─► in_progress ─► finalizing ─► completed
 *                 │   │    ▲                       │ retry: in_progress again
 *          cancel │   ▼    │ resume                │
 *                 │  paused                        │
 *                 ▼   │ cancel                     │
 *              cancelling ─────────► cancelled ────┘
 */
import { randomBytes } from 'node:crypto';
import type { Redis } from '../redis/client.ts';
import { z } from 'zod';
import type { AppErrorCode } from '../errors.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import { ledgersOf, type BatchLedgers } from './ledgers.ts';

export const batchStatuses = [
  'validating',
  'in_progress',
  'paused',
  'finalizing',
  'completed',
  'cancelling',
  'cancelled',
] as const;
export type BatchStatus = (typeof batchStatuses)[number];

/** Every line has ended, and nothing is under way. */
export function isFinished({ status }: { status: string }): boolean {
  return status === 'completed' || status === 'cancelled';
}

export const priorities = ['low', 'normal', 'high'] as const;
export type Priority = (typeof priorities)[number];

/** Why a batch is paused; the code decides the exit code. */
export type Stop = { code: AppErrorCode; cause: string };

/** Where the rows of a rendered input are kept (render.ts). */
const rowsSchema = z.object({
  path: z.string(),
  source: z.string(),
  compressed: z.boolean(),
  format: z.enum(['csv', 'jsonl']),
  delimiter: z.string(),
});

const optionsSchema = z.object({
  model: z.string().nullable(),
  attempts: z.number().int().positive(),
  deadlineMs: z.number().int().positive(),
  skipInvalid: z.boolean(),
  pinModels: z.boolean(),
  ordered: z.boolean(),
  // Batches of earlier versions have none of these.
  stream: z.boolean().default(false),
  dropUnsupported: z.boolean().default(false),
  csv: z.boolean().default(false),
  priority: z.enum(priorities).default('normal'),
  rows: rowsSchema.nullable().default(null),
  /** Those that it was begun with keys for. */
  providers: z.array(z.string()).default([]),
});
export type BatchOptions = z.infer<typeof optionsSchema>;

export type BatchFiles = { inputFile: string; outputFile: string; errorFile: string; manifestFile: string };

export type BatchRecord = BatchFiles & {
  batchId: string;
  name: string;
  status: BatchStatus;
  stop: Stop | null;
  options: BatchOptions;
  inputSha256: string;
  /** Size, time and inode of the file that has this hash (`statMark`): while they hold it need not be read again. */
  inputMark: string;
  /** Requests (non-blank lines). */
  total: number;
  createdAtMs: number;
  budgetNanoUsd: number | null;
  counts: { completed: number; failed: number };
  errorCodes: Record<string, number>;
  inputTokens: number;
  outputTokens: number;
  spentNanoUsd: number;
  /** The part of it that is no known cost: what calls may have cost of which nobody told it. Budgets count it. */
  unsureNanoUsd: number;
  possiblyBilled: number;
  /** Lines that wait for a person's approval. */
  held: number;
  /** The collector's commit: what the files hold for sure. */
  collected: Commit;
  /** The producer's low-water mark: every line before it is done. */
  lowWater: LowWater;
  /** How often its failed lines were begun once more. */
  retries: number;
  ledgers: BatchLedgers;
};

export type Commit = { streamId: string; lines: number; outputBytes: number; errorBytes: number };
export type LowWater = { offset: number; line: number; requests: number };

export type NewBatch = { options: z.input<typeof optionsSchema> } & Pick<
  BatchRecord,
  'name' | 'inputSha256' | 'inputMark' | 'total' | 'budgetNanoUsd' | keyof BatchFiles
> & {
    /** Whose rows its calls become (LedgerStore). */
    ledgerId: string;
  };

/** No hyphen: job ids and line references put one behind it. */
export function newBatchId(): string {
  return `batch_${randomBytes(12).toString('hex')}`;
}

/**
 * For the holder of its lease; `batchId` may be that of a batch whose set-up was killed. Such a one has ended duplicate
 * lines, perhaps of another content than the file has now: nothing of it may stay. It has sent nothing, so no answer is
 * lost. The ledger stream is left alone all the same: rows of calls are for the ledger to take.
 */
export async function createBatch(redis: Redis, names: Names, batchId: string, batch: NewBatch): Promise<void> {
  const { options, budgetNanoUsd, ...fields } = batch;
  const ofLines = [names.done(batchId), names.attempts(batchId), names.held(batchId), names.results(batchId)];
  await redis
    .multi()
    .del(names.batch(batchId), ...ofLines)
    .hset(names.batch(batchId), {
      ...fields,
      options: JSON.stringify(options),
      ...(budgetNanoUsd !== null && { budget: budgetNanoUsd }),
      status: 'validating' satisfies BatchStatus,
      createdAt: Date.now(),
    })
    .sadd(names.batches, batchId)
    .exec();
}

const number = z.coerce.number().default(0);
const recordSchema = z.object({
  name: z.string(),
  status: z.enum(batchStatuses),
  stopCode: z.string().default(''),
  stopCause: z.string().default(''),
  options: z.string(),
  inputFile: z.string(),
  outputFile: z.string(),
  errorFile: z.string(),
  manifestFile: z.string(),
  inputSha256: z.string(),
  inputMark: z.string(),
  total: number,
  createdAt: number,
  budget: z.coerce.number().optional(),
  completed: number,
  failed: number,
  inputTokens: number,
  outputTokens: number,
  spent: number,
  unsure: number,
  possiblyBilled: number,
  collectedId: z.string().default('0-0'),
  collectedLines: number,
  outputBytes: number,
  errorBytes: number,
  lowOffset: number,
  lowLine: z.coerce.number().default(1),
  lowRequests: number,
  retries: number,
});

export async function loadBatch(redis: Redis, names: Names, batchId: string): Promise<BatchRecord | null> {
  const [raw, held] = await Promise.all([redis.hgetall(names.batch(batchId)), redis.hlen(names.held(batchId))]);
  if (Object.keys(raw).length === 0) return null;
  const fields = recordSchema.parse(raw);
  const errors = Object.entries(raw).filter(([field]) => field.startsWith('error:'));
  return {
    batchId,
    name: fields.name,
    status: fields.status,
    stop: fields.stopCode === '' ? null : { code: fields.stopCode as AppErrorCode, cause: fields.stopCause },
    options: optionsSchema.parse(JSON.parse(fields.options)),
    inputFile: fields.inputFile,
    outputFile: fields.outputFile,
    errorFile: fields.errorFile,
    manifestFile: fields.manifestFile,
    inputSha256: fields.inputSha256,
    inputMark: fields.inputMark,
    total: fields.total,
    createdAtMs: fields.createdAt,
    budgetNanoUsd: fields.budget ?? null,
    counts: { completed: fields.completed, failed: fields.failed },
    errorCodes: Object.fromEntries(errors.map(([field, count]) => [field.slice('error:'.length), Number(count)])),
    inputTokens: fields.inputTokens,
    outputTokens: fields.outputTokens,
    spentNanoUsd: fields.spent,
    unsureNanoUsd: fields.unsure,
    possiblyBilled: fields.possiblyBilled,
    held,
    collected: {
      streamId: fields.collectedId,
      lines: fields.collectedLines,
      outputBytes: fields.outputBytes,
      errorBytes: fields.errorBytes,
    },
    lowWater: { offset: fields.lowOffset, line: fields.lowLine, requests: fields.lowRequests },
    retries: fields.retries,
    ledgers: ledgersOf(raw),
  };
}

/** Tells a Redis that lost its last second what the files hold (readWholeFiles). */
export async function restoreCounts(
  redis: Redis,
  names: Names,
  batch: Pick<BatchRecord, 'batchId' | 'total'>,
  whole: { completed: number; failed: number; outputBytes: number; errorBytes: number },
): Promise<void> {
  await redis.hset(names.batch(batch.batchId), { ...whole, collectedLines: batch.total });
}

/** Returns whether the batch moved: false when it was in none of `from`. */
export async function moveBatch(
  redis: Redis,
  names: Names,
  batchId: string,
  move: { from: BatchStatus[]; to: BatchStatus; stop?: Stop | null },
): Promise<boolean> {
  const script = loadScript(redis, 'transition.lua', import.meta.url);
  const stop = move.stop === undefined ? [] : ['stopCode', move.stop?.code ?? '', 'stopCause', move.stop?.cause ?? ''];
  const before = await script([names.batch(batchId)], [move.from.join(' '), move.to, ...stop]);
  return move.from.some((status) => status === before);
}

/** Stops a batch: nothing more is sent for it, nothing done is lost. The first cause wins. */
export function pauseBatch(redis: Redis, names: Names, batchId: string, stop: Stop): Promise<boolean> {
  return moveBatch(redis, names, batchId, { from: ['in_progress'], to: 'paused', stop });
}

/** Nothing more is sent; what is in flight ends and is kept. False: it was neither running nor paused. */
export function cancelBatch(redis: Redis, names: Names, batchId: string): Promise<boolean> {
  return moveBatch(redis, names, batchId, { from: ['in_progress', 'paused'], to: 'cancelling', stop: null });
}

export async function setBudget(redis: Redis, names: Names, batchId: string, budgetNanoUsd: number): Promise<void> {
  await redis.hset(names.batch(batchId), { budget: budgetNanoUsd });
}
