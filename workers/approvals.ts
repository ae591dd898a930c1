/**
 * Lines that a gateway holds for a person's approval: asked about now and then, never sent again. Which approval a line
 * waits for is in Redis (settle.lua, `hold`), so that whoever takes the line up after a crash asks as well.
 */
import { z } from 'zod';
import { errorLine, outputLine, requestIdOf } from '../src/batch/result-line.ts';
import type { Key } from '../src/keys/keyring.ts';
import type { LineEnd } from '../src/keys/settle.ts';
import type { LedgerEntry } from '../src/ledger/entry.ts';
import { parseJson } from '../src/provider/answer.ts';
import { readApproval } from '../src/provider/approval.ts';
import { profileOf } from '../src/provider/profile.ts';
import { usageOf, type PriceSources } from '../src/provider/usage.ts';
import type { LineResult, LineRun } from './line.ts';

const heldSchema = z.object({ approvalId: z.string(), keyId: z.string(), attemptId: z.string() });
export type HeldApproval = z.infer<typeof heldSchema>;

export function parseHeld(packed: string | null | undefined): HeldApproval | null {
  return packed ? heldSchema.parse(JSON.parse(packed)) : null;
}

/** One look at the approval: the line ends, or is held for the next look. */
export async function askApproval(run: LineRun, held: HeldApproval): Promise<LineResult> {
  const { ctx, batch, line, request } = run;
  const later: LineResult = { tag: 'held', retryAtMs: Date.now() + ctx.config.approvalPollMs };
  if (Date.now() > batch.createdAtMs + batch.options.deadlineMs) {
    return end(run, held, refusal(run, held, 'batch_expired', 'the deadline passed before anyone approved this line'));
  }
  const key =
    ctx.keyring.byId.get(held.keyId) ?? ctx.keyring.keys.find(({ provider }) => provider.kind === 'curate-me');
  const path = key && profileOf(key.provider.kind).approvalPath?.(held.approvalId);
  // A worker without that provider's keys cannot ask; another one will.
  if (!key || !path) return later;
  const answer = await ctx.client.get(key, path);
  const approval = readApproval(answer);
  // Undecided, or nothing that could be read as a decision.
  if (!approval) return later;
  switch (approval.tag) {
    case 'pending':
      return later;
    case 'refused':
      return end(run, held, refusal(run, held, 'approval_refused', `the approval was refused: ${approval.message}`));
    case 'approved': {
      const message = `approved (${held.approvalId}), but its status page carries no completion, and it may not be sent again`;
      return end(run, held, refusal(run, held, 'approved_without_answer', message));
    }
    case 'answered': {
      const model = modelIn(approval.body) ?? request.model;
      const prices = await pricesOf(run, key, model);
      const usage = usageOf(parseJson(approval.body), prices);
      const attemptId = `${held.attemptId}.approved`;
      const sender = await senderOf(run, held);
      const result = { status: 200, requestId: requestIdOf(answer), body: approval.body };
      const ledger: LedgerEntry = {
        attemptId,
        batchId: batch.batchId,
        customId: request.customId,
        line,
        ...sender,
        requestedModel: request.model,
        resolvedModel: model,
        outcome: 'completed',
        httpStatus: 200,
        errorCode: null,
        startedAtMs: Date.now(),
        durationMs: answer.durationMs,
        firstTokenMs: null,
        requestId: result.requestId,
        ...usage,
      };
      const text = outputLine(attemptId, request.customId, result);
      const { inputTokens, outputTokens } = usage;
      const about = {
        price: prices.listing ?? prices.configured,
        contextLength: prices.contextLength,
        tpm: null,
        tpmCounts: key.tpmCounts,
      };
      const assumedNanoUsd = ctx.estimator.estimate(model, run.size, about).costNanoUsd;
      const lineEnd: LineEnd = { to: 'output', text, errorCode: null, inputTokens, outputTokens };
      return end(run, held, lineEnd, { ledger, assumedNanoUsd });
    }
    default:
      return approval satisfies never;
  }
}

/** What the completion says itself of its cost goes before. */
async function pricesOf(
  { ctx }: LineRun,
  key: Key,
  model: string,
): Promise<PriceSources & { contextLength: number | null }> {
  const result = await ctx.listings.get(key);
  const listed = result.tag === 'listing' ? result.listing.get(model) : undefined;
  return {
    listing: listed?.price ?? null,
    configured: ctx.config.prices[model] ?? null,
    contextLength: listed?.contextLength ?? null,
  };
}

/**
 * Whose call it was, also when that key has left the keyring and another asks: its money and its row belong together.
 * Redis has a name for every key that was ever used.
 */
async function senderOf(
  { ctx }: LineRun,
  { keyId }: HeldApproval,
): Promise<Pick<LedgerEntry, 'provider' | 'keyId' | 'keyName'>> {
  const key = ctx.keyring.byId.get(keyId);
  if (key) return { provider: key.provider.name, keyId, keyName: key.name };
  const [keyName, provider] = await ctx.redis.hmget(ctx.names.key(keyId), 'name', 'provider');
  return { provider: provider ?? '', keyId, keyName: keyName ?? '' };
}

function refusal({ ctx, request, line }: LineRun, held: HeldApproval, code: string, message: string): LineEnd {
  const text = errorLine(held.attemptId, request.customId, { code, message, line }, null, ctx.keyring.redact);
  return { to: 'error', text, errorCode: code, inputTokens: null, outputTokens: null };
}

/**
 * The held call was settled when it was held, and what was reserved for it given back; what is booked here is the completion
 * that came of it, or what it may have cost where nobody told.
 */
async function end(
  run: LineRun,
  held: HeldApproval,
  lineEnd: LineEnd,
  completion: { ledger: LedgerEntry; assumedNanoUsd: number } | null = null,
): Promise<LineResult> {
  const { ctx, batch, line } = run;
  const call = completion && {
    attemptId: completion.ledger.attemptId,
    keyId: held.keyId,
    bucketId: ctx.keyring.byId.get(held.keyId)?.bucketId ?? held.keyId,
    act: { kind: 'ok' as const },
    tokens: null,
    costNanoUsd: completion.ledger.costNanoUsd,
    assumedNanoUsd: completion.assumedNanoUsd,
    countsAsAttempt: false,
    ledger: completion.ledger,
  };
  await ctx.settle({ batchId: batch.batchId, line, call, end: lineEnd });
  return { tag: 'ended' };
}

function modelIn(body: string): string | null {
  const parsed = z.object({ model: z.string() }).safeParse(parseJson(body));
  return parsed.success ? parsed.data.model : null;
}
