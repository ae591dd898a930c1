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
import { setTimeout as sleep } from 'node:timers/promises';
import type { BatchRecord } from '../src/batch/batch.ts';
import { pauseBatch, type Stop } from '../src/batch/batch.ts';
import { parseRequest, type CompletionRequest } from '../src/batch/request.ts';
import { errorLine } from '../src/batch/result-line.ts';
import { lineRef, type Intent } from '../src/keys/intent.ts';
import type { RequestSize } from '../src/keys/estimate.ts';
import { reapIntent } from '../src/keys/reap.ts';
import { retireKeys } from '../src/keys/standing.ts';
import { act } from './act.ts';
import { askApproval, type HeldApproval } from './approvals.ts';
import { factsFor, findCandidates, type Resolved } from './candidates.ts';
import { describeProblem, fitting } from './fitting.ts';
import { callProvider } from './call.ts';
import type { WorkerContext } from './context.ts';
import type { LaneReply, Lanes } from './lanes.ts';
import { isAlive } from './roster.ts';
import { stopForLackOfKeys } from './stop.ts';

export type LineResult =
  | { tag: 'ended' }
  /** `retryAtMs`: not before then; null: as soon as anyone likes. */
  | { tag: 'held'; retryAtMs: number | null };

export type LineRun = {
  ctx: WorkerContext;
  lanes: Lanes;
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
};

const held: LineResult = { tag: 'held', retryAtMs: null };
/** A listing could not be had: as long as a circuit's first pause. */
const listingRetryMs = 1000;
/** As long as it takes to notice that a sender is dead. */
const staleRetryMs = 5000;

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
    size: sizeOf(request),
    modelErrors: 0,
    waitingSinceMs: performance.now(),
    hasBrokenStream: false,
  };
  if (approval) return askApproval(run, approval);
  for (;;) {
    const result = await step(run);
    if (result) return result;
  }
}

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
  if (found.tag === 'unfit')
    return endWithout(run, request.customId, found.problem.code, describeProblem(found.problem));
  if (found.tag === 'unknown_model') {
    const nearest = found.nearest.length > 0 ? `; the nearest names: ${found.nearest.join(', ')}` : '';
    return endWithout(run, request.customId, 'model_not_found', `no key offers the model "${request.model}"${nearest}`);
  }
  if (found.tag === 'no_listing') return afterRefusedListing(run, found);

  const open = openCircuits(ctx, found.candidates);
  if (open.tag === 'give_up') return pause(run, { code: 'provider', cause: open.cause });
  if (open.tag === 'wait') return wait(ctx, open.waitMs);

  const attemptId = `${lineRef(batch.batchId, run.line)}.${ctx.attemptNonce}${(attemptCounter++).toString(36)}`;
  const estimates = open.candidates.map((candidate) =>
    ctx.estimator.estimate(candidate.model, run.size, factsFor(ctx, candidate)),
  );
  const reply = await run.lanes.take(`${batch.batchId} ${request.model}`, {
    batchId: batch.batchId,
    line: run.line,
    attemptId,
    customId: request.customId,
    requestedModel: request.model,
    candidates: open.candidates,
    estimatedTokens: Math.max(...estimates.map(({ tokens }) => tokens)),
    estimatedCostNanoUsd: Math.max(...estimates.map(({ costNanoUsd }) => costNanoUsd)),
    waitingSinceMs: run.waitingSinceMs,
  });
  if (reply.tag !== 'slot') {
    for (const provider of providersOf(open.candidates)) ctx.circuitOf(provider).undecided();
    return afterNoSlot(run, reply, open.candidates.length < found.candidates.length);
  }
  run.waitingSinceMs = performance.now();
  const chosen = open.candidates.find(({ key, model }) => key === reply.key && model === reply.model) as Resolved;
  for (const provider of providersOf(open.candidates)) {
    if (provider !== chosen.key.provider.name) ctx.circuitOf(provider).undecided();
  }
  const call = await callProvider(run, chosen, attemptId, reply);
  if (call.tag === 'released') return held;
  if (call.tag === 'void') return null;
  return act(run, call);
}

async function afterNoSlot(
  run: LineRun,
  reply: Exclude<LaneReply, { tag: 'slot' }>,
  someCircuitIsOpen: boolean,
): Promise<LineResult | null> {
  const { ctx, request } = run;
  switch (reply.tag) {
    case 'done':
      return { tag: 'ended' };
    case 'halted':
      return held;
    case 'outdated':
      return null;
    case 'wait':
      return { tag: 'held', retryAtMs: Date.now() + reply.waitMs };
    case 'stale':
      return afterStaleIntent(run, reply.intent);
    case 'too_large':
      // A key whose provider is out of order now may have the room.
      if (someCircuitIsOpen) return { tag: 'held', retryAtMs: Date.now() + listingRetryMs };
      return endWithout(
        run,
        request.customId,
        'request_too_large',
        `it needs more tokens than any key's limit of ${reply.limit} per window admits; lower max_tokens or raise tpm`,
      );
    case 'denied':
      return pause(run, { code: 'budget', cause: deniedCause(reply.budget) });
    case 'none':
      return pause(run, await stopForLackOfKeys(ctx, request.model, reply));
  }
}

/**
 * The line has a call in flight that is not ours. If its sender lives, it will settle it (the queue gave the line away
 * too soon); if not, the call is given up.
 */
async function afterStaleIntent(run: LineRun, intent: Intent): Promise<LineResult | null> {
  const { ctx, batch, request } = run;
  if (await isAlive(ctx.redis, ctx.names, intent.workerId)) {
    return { tag: 'held', retryAtMs: Date.now() + staleRetryMs };
  }
  await reapIntent(ctx, intent);
  run.attemptsSpent += 1;
  if (run.attemptsSpent < batch.options.attempts) return null;
  const message = 'its worker died in each of its attempts; the last one is possibly billed';
  return endWithout(run, request.customId, 'attempts_exhausted', message);
}

function deniedCause(budget: 'batch' | 'day' | 'key'): string {
  const causes = {
    batch: 'the batch\u2019s budget is spent; give the same command a larger --budget to go on',
    day: 'the daily budget (dailyBudgetUsd) is spent; it starts anew at 00:00 UTC',
    key: 'the budget (budgetUsd) of every key is spent; raise one to go on',
  };
  return causes[budget];
}

async function afterRefusedListing(
  run: LineRun,
  { key, outcome }: Extract<Awaited<ReturnType<typeof findCandidates>>, { tag: 'no_listing' }>,
): Promise<LineResult | null> {
  const { ctx } = run;
  switch (outcome.tag) {
    case 'misconfigured':
      return pause(run, { code: 'config', cause: outcome.message });
    case 'key_retired':
    case 'org_retired': {
      const same = ctx.keyring.keys.filter(
        (other) => other === key || (outcome.tag === 'org_retired' && other.org === key.org),
      );
      await retireKeys(
        ctx.redis,
        ctx.names,
        same.map(({ keyId }) => keyId),
        outcome.reason,
        outcome.untilMs,
      );
      return pause(run, await stopForLackOfKeys(ctx, run.request.model, { why: outcome.reason, comesBackAtMs: null }));
    }
    case 'retry':
    case 'rate_limited':
    case 'too_many_at_once':
    case 'snooze':
    case 'held':
    case 'complete':
    case 'reject':
    case 'model_unavailable': {
      const cause = `${key.provider.baseUrl}: ${'message' in outcome ? outcome.message : 'no model listing'}`;
      const circuit = ctx.circuitOf(key.provider.name);
      const ask = circuit.ask(performance.now());
      if (ask.tag === 'give_up') return pause(run, { code: 'provider', cause: ask.cause });
      circuit.failed(performance.now(), cause);
      return wait(ctx, listingRetryMs);
    }
  }
}

/** Candidates whose provider's circuit lets a call through. */
function openCircuits(ctx: WorkerContext, candidates: Resolved[]) {
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

function providersOf(candidates: Resolved[]): Set<string> {
  return new Set(candidates.map(({ key }) => key.provider.name));
}

/** Sleeps, but not through a stop. */
export async function wait(ctx: WorkerContext, ms: number): Promise<LineResult | null> {
  try {
    await sleep(ms, undefined, { signal: ctx.stopping });
    return null;
  } catch {
    return held;
  }
}

async function pause({ ctx, batch }: LineRun, stop: Stop): Promise<LineResult> {
  if (await pauseBatch(ctx.redis, ctx.names, batch.batchId, stop)) {
    // `info`: whoever runs the batch says it to the person.
    ctx.log.info({ batchId: batch.batchId, stop: stop.code }, `the batch stops: ${stop.cause}`);
  }
  return held;
}

/** Ends a line that no call answered. */
export async function endWithout(
  { ctx, batch, line }: Pick<LineRun, 'ctx' | 'batch' | 'line'>,
  customId: string | null,
  code: string,
  message: string,
): Promise<LineResult> {
  const id = lineRef(batch.batchId, line);
  const text = errorLine(id, customId, { code, message, line }, null, ctx.keyring.redact);
  await ctx.settle({
    batchId: batch.batchId,
    line,
    call: null,
    end: { to: 'error', text, errorCode: code, inputTokens: null, outputTokens: null },
  });
  return { tag: 'ended' };
}

function sizeOf({ body }: CompletionRequest): RequestSize {
  const most = body['max_completion_tokens'] ?? body['max_tokens'];
  return {
    promptChars: JSON.stringify(body['messages']).length,
    maxTokens: typeof most === 'number' ? most : null,
  };
}
