/**
 * One line's way to its end:
 *
 *   parse ─► candidates (fresh listings) ─► circuit ─► slot (lane, acquire) ─► send ─► classify ─► act ─┐
 *     ▲                                                                                                 │
 *     └───────────────────────────── again: other key, other model, or later ◄──────────────────────────┘
 *
 * It ends in the output or the error file, or it is held: not finished here and now, nothing in flight, to be taken up
 * again later by whoever gets its job.
 */
import type { BatchRecord } from '../src/batch/batch.ts';
import { parseRequest, type CompletionRequest } from '../src/batch/request.ts';
import { needOf } from '../src/keys/estimate.ts';
import { lineRef } from '../src/keys/intent.ts';
import { sizeOf, type RequestSize } from '../src/provider/request-size.ts';
import { act } from './act.ts';
import { askApproval, type HeldApproval } from './approvals.ts';
import { callProvider } from './call.ts';
import { factsFor, findCandidates, type Resolved } from './candidates.ts';
import { leaveUndecided, openCircuits, providersOf } from './circuits.ts';
import type { WorkerContext } from './context.ts';
import { keptFromFailing, leftToOthers, type Need } from './elsewhere.ts';
import { describeProblem, fitting } from './fitting.ts';
import { endKiller, endWithout, hasKilledTooMany, held, pause, wait } from './line-end.ts';
import { afterNoSlot, afterRefusedListing } from './no-slot.ts';
import type { SeatedLanes } from './seated-lanes.ts';
import { readClocks } from './suspension.ts';

export type LineResult =
  | { tag: 'ended' }
  /** `retryAtMs`: not before then; null: as soon as anyone likes. */
  | { tag: 'held'; retryAtMs: number | null };

export type LineRun = {
  ctx: WorkerContext;
  lanes: Pick<SeatedLanes, 'take' | 'poke'>;
  batch: BatchRecord;
  line: number;
  request: CompletionRequest;
  size: RequestSize;
  /** Attempts spent, those of earlier workers included. */
  attemptsSpent: number;
  /** How often a provider said that the model is not there. */
  modelErrors: number;
  /** performance.now */
  waitingSinceMs: number;
  /** A stream of this line was cut or stood still: from then on its answers are asked for whole. */
  hasBrokenStream: boolean;
  /** A call of this line was given up as hung (provider/patience.ts). */
  hasHung: boolean;
};

let attemptCounter = 0;

/** What a line brings with it from earlier rounds. */
export type LineStart = Pick<LineRun, 'ctx' | 'lanes' | 'batch' | 'line' | 'attemptsSpent'> & {
  /** A person is to approve it: it is asked about, not sent. */
  held: HeldApproval | null;
};

export async function runLine({ held: approval, ...start }: LineStart, text: string): Promise<LineResult> {
  const parsed = parseRequest(text, start.line, { model: start.batch.options.model });
  if (!parsed.ok) {
    const { code, message, customId } = parsed.problem;
    return endWithout(start, customId, `invalid_request:${code}`, message);
  }
  const { request } = parsed;
  const run: LineRun = {
    ...start,
    request,
    size: sizeOf(request.body),
    modelErrors: 0,
    waitingSinceMs: performance.now(),
    hasBrokenStream: false,
    hasHung: false,
  };
  if (approval) return askApproval(run, approval);
  if (hasKilledTooMany(run)) return endKiller(run);
  for (;;) {
    const result = await step(run);
    if (result) return result;
  }
}

type Attempt = {
  attemptId: string;
  found: { candidates: Resolved[] };
  /** Those of them whose provider is not out of order now. */
  open: { candidates: Resolved[] };
  need: Need;
};

/** One round; null = go on. */
async function step(run: LineRun): Promise<LineResult | null> {
  const { ctx, batch, request } = run;
  if (ctx.stopping.aborted) return held;
  if (Date.now() > batch.createdAtMs + batch.options.deadlineMs) {
    return endWithout(
      run,
      request.customId,
      'batch_expired',
      'the batch\u2019s deadline passed before this line was answered',
    );
  }
  const listed = await findCandidates(ctx, batch, request.model);
  const found = listed.tag === 'some' ? fitting(listed.candidates, request.body, batch.options) : listed;
  if (found.tag === 'unfit') {
    const left = (await leftToOthers(run)) ?? (await keptFromFailing(run));
    return left ?? endWithout(run, request.customId, found.problem.code, describeProblem(found.problem));
  }
  if (found.tag === 'unknown_model') {
    const left = (await leftToOthers(run)) ?? (await keptFromFailing(run));
    if (left) return left;
    const nearest = found.nearest.length > 0 ? `; the nearest names: ${found.nearest.join(', ')}` : '';
    return endWithout(run, request.customId, 'model_not_found', `no key offers the model "${request.model}"${nearest}`);
  }
  if (found.tag === 'no_listing') return afterRefusedListing(run, found);

  const open = openCircuits(ctx, found.candidates);
  if (open.tag === 'give_up') return (await leftToOthers(run)) ?? pause(run, { code: 'provider', cause: open.cause });
  if (open.tag === 'wait') return wait(ctx, open.waitMs);

  const attemptId = `${lineRef(batch.batchId, run.line)}.${ctx.attemptNonce}${(attemptCounter++).toString(36)}`;
  const estimates = open.candidates.map((candidate) => {
    const about = factsFor(ctx, candidate);
    return { ...ctx.estimator.estimate(candidate.model, run.size, about), tpm: about.tpm };
  });
  const need = needOf(estimates);
  try {
    return await ctx.attempts.during(attemptId, () => attempt(run, { attemptId, found, open, need }));
  } catch (error) {
    // A trial must not stay with a line that is gone. Where its call has told already, it is at most one more trial.
    leaveUndecided(ctx, providersOf(open.candidates));
    throw error;
  }
}

/** One call: its slot, the answer, what follows from it. */
async function attempt(run: LineRun, { attemptId, found, open, need }: Attempt): Promise<LineResult | null> {
  const { ctx, batch, request } = run;
  const asked = readClocks();
  const reply = await run.lanes.take(`${batch.batchId} ${request.model}`, {
    batchId: batch.batchId,
    line: run.line,
    attemptId,
    customId: request.customId,
    requestedModel: request.model,
    candidates: open.candidates,
    estimatedTokens: need.tokens,
    estimatedCostNanoUsd: need.costNanoUsd,
    waitingSinceMs: run.waitingSinceMs,
  });
  if (reply.tag !== 'slot') {
    leaveUndecided(ctx, providersOf(open.candidates));
    const someCircuitIsOpen = open.candidates.length < found.candidates.length;
    return afterNoSlot(run, reply, { someCircuitIsOpen, need });
  }
  run.waitingSinceMs = performance.now();
  const chosen = open.candidates.find(({ key, model }) => key === reply.key && model === reply.model) as Resolved;
  for (const provider of providersOf(open.candidates)) {
    if (provider !== chosen.key.provider.name) ctx.circuitOf(provider).undecided();
  }
  const call = await callProvider(run, chosen, attemptId, { ...reply, asked });
  if (call.tag === 'answered') return act(run, call);
  run.lanes.poke();
  return call.tag === 'released' ? held : null;
}
