/**
 * One attempt: waits for its slot, sends, and hands back the answer with what it meant and what it cost.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseJson, type Answer } from '../src/provider/answer.ts';
import { classify } from '../src/provider/classify.ts';
import type { Outcome } from '../src/provider/outcome.ts';
import { profileOf } from '../src/provider/profile.ts';
import { noUsage, unansweredUsage, usageOf, type Usage } from '../src/provider/usage.ts';
import { priceOf, type Resolved } from './candidates.ts';
import { messageOf } from '../src/errors.ts';
import { releaseSlot } from '../src/keys/release.ts';
import type { LineRun } from './line.ts';
import { readClocks, suspendedMs, type Clocks } from './suspension.ts';

/** Later than a busy process sends; and no more of a window than a widened guard can make good (window.lua). */
const latestSendMs = 3000;
const latestSendPart = 1 / 4;

export type AnsweredCall = {
  tag: 'answered';
  attemptId: string;
  chosen: Resolved;
  answer: Answer;
  outcome: Outcome;
  usage: Usage;
  startedAtMs: number;
};

/** `asked`: the clocks before the slot was asked for. */
export async function callProvider(
  run: LineRun,
  chosen: Resolved,
  attemptId: string,
  { waitMs, dueAtMs, asked }: { waitMs: number; dueAtMs: number; asked: Clocks },
): Promise<AnsweredCall | { tag: 'released' } | { tag: 'void' }> {
  const { ctx } = run;
  if (waitMs > 0) await sleep(waitMs, undefined, { signal: ctx.stopping }).catch(() => undefined);
  // A stop ends the wait, or came while the slot was being granted.
  if (ctx.stopping.aborted) {
    await release(run, chosen, attemptId);
    return { tag: 'released' };
  }
  const { keyId, provider } = chosen.key;
  const latestMs = Math.min(latestSendMs, provider.windowMs * latestSendPart);
  const lateMs = () => performance.now() - dueAtMs + suspendedMs(asked, readClocks());
  const mayBeSent = () => {
    // Nothing is sent on a key that is gone, or that an answer has closed, since the slot was granted.
    if (ctx.stopping.aborted || !ctx.keyring.byId.has(keyId)) return false;
    if ((ctx.closedAtMs.get(keyId) ?? Number.NEGATIVE_INFINITY) >= dueAtMs - waitMs) return false;
    // The slot is of another time: the machine was asleep, Redis was away, no connection could be had.
    return lateMs() <= latestMs;
  };
  if (!mayBeSent()) {
    await release(run, chosen, attemptId);
    return { tag: 'void' };
  }
  if (waitMs > 0 && !(await useReserved(run, chosen, attemptId, latestMs))) return { tag: 'void' };
  const startedAtMs = Date.now();
  const { redact } = ctx.keyring;
  let isSent = false;
  const received = await ctx.client.chat({
    sender: chosen.key,
    isStreamed: isStreamed(run),
    body: bodyFor(run, chosen),
    ...(mayHang(run) && { isHung: (ms) => ctx.patience.isHung(chosen.model, run.size.maxTokens, ms) }),
    mayBeSent,
    onSent: () => {
      isSent = true;
      ctx.lateness.note(chosen.key, lateMs());
    },
  });
  if (received.tag === 'failure' && received.code === 'unsent') {
    await release(run, chosen, attemptId);
    return { tag: 'void' };
  }
  const answer = withCleanRequestId(received, redact);
  const json = answer.tag === 'http' && answer.status === 200 ? parseJson(answer.body) : undefined;
  const outcome = classify(provider.kind, answer, { nowMs: Date.now(), json, redact });
  const header = answer.tag === 'http' ? answer.headers['x-cm-cost'] : undefined;
  const told = json === undefined ? noUsage : usageOf(json, { header, ...priceOf(ctx, chosen) });
  const usage = told.costNanoUsd === null && isUnanswered(answer, json, outcome, isSent) ? unansweredUsage : told;
  if (answer.tag === 'failure' && answer.code === 'hung') run.hasHung = true;
  if (outcome.tag === 'complete') {
    ctx.estimator.learn(chosen.model, run.size, usage);
    ctx.patience.learn(chosen.model, run.size.maxTokens, answer.durationMs);
  }
  return { tag: 'answered', attemptId, chosen, answer, outcome, usage, startedAtMs };
}

/**
 * May its call be taken for hung? A stream shows by its pieces whether it hangs. Once taken for hung, a line has the
 * whole time; and so it has in its last attempt, which must not fail for impatience.
 */
function mayHang(run: LineRun): boolean {
  return !isStreamed(run) && !run.hasHung && run.attemptsSpent + 1 < run.batch.options.attempts;
}

/** Was it sent, and no whole answer came, or one that nobody understands? A provider's own word of an error is an answer. */
function isUnanswered(answer: Answer, json: unknown, outcome: Outcome, isSent: boolean): boolean {
  if (answer.tag === 'failure') return isSent;
  const isError = typeof json === 'object' && json !== null && 'error' in json && Boolean(json.error);
  return answer.status === 200 && outcome.tag === 'retry' && !isError;
}

/** Of an answer's headers the request id alone is kept: in the files and in the ledger. */
function withCleanRequestId(answer: Answer, redact: (text: string) => string): Answer {
  const id = answer.tag === 'http' ? answer.headers['x-request-id'] : undefined;
  if (answer.tag !== 'http' || id === undefined) return answer;
  return { ...answer, headers: { ...answer.headers, 'x-request-id': redact(id) } };
}

/** By the request's own wish or the batch's, until a stream of this line broke. */
export function isStreamed({ request, batch, hasBrokenStream }: LineRun): boolean {
  return (request.body['stream'] === true || batch.options.stream) && !hasBrokenStream;
}

function bodyFor(run: LineRun, { key, model, body }: Resolved): string {
  const { stream: _, stream_options: __, ...rest } = body ?? run.request.body;
  if (!isStreamed(run)) return JSON.stringify({ model, ...rest });
  const asksForUsage = !profileOf(key.provider.kind).streamsUsageUnasked;
  return JSON.stringify({
    model,
    ...rest,
    stream: true,
    ...(asksForUsage && { stream_options: { include_usage: true } }),
  });
}

/**
 * A reserved slot is used: from here on a crash leaves a call that is possibly billed. False when it must not be: we
 * were taken for dead meanwhile, the batch or the key was stopped, or we cannot tell anyone.
 */
async function useReserved(run: LineRun, chosen: Resolved, attemptId: string, withinMs: number): Promise<boolean> {
  const { ctx, line } = run;
  const { batchId } = run.batch;
  try {
    const fate = await ctx.markSent({ batchId, line, attemptId, keyId: chosen.key.keyId, withinMs });
    if (fate === 'use') return true;
    if (fate === 'lost') {
      ctx.circuitOf(chosen.key.provider.name).undecided();
      return false;
    }
  } catch (error) {
    ctx.log.debug({ batchId, line, error: messageOf(error) }, 'a reserved slot cannot be used');
  }
  await release(run, chosen, attemptId);
  return false;
}

async function release({ ctx, batch, line }: LineRun, { key }: Resolved, attemptId: string): Promise<void> {
  ctx.circuitOf(key.provider.name).undecided();
  const { keyId, bucketId } = key;
  await releaseSlot(ctx.settle, { batchId: batch.batchId, line, attemptId, keyId, bucketId });
}
