/** Does what an answer's outcome decides: one settle for the line, its key, its budgets and the ledger. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KeyAct, LineEnd } from '../src/keys/settle.ts';
import { toldRpm } from '../src/provider/rate-headers.ts';
import { ledgerEntry } from './answer-records.ts';
import type { AnsweredCall } from './call.ts';
import { factsFor } from './candidates.ts';
import { held } from './line-end.ts';
import type { LineResult, LineRun } from './line.ts';
import { putOff } from './put-off.ts';

/** What an answer does to its line and its key (act.ts). */
export type Decision = {
  key: KeyAct;
  countsAsAttempt: boolean;
  end: LineEnd | null;
  /** Before the next round. */
  pauseMs: number;
  /** The approval that the line waits for from now on. */
  hold?: string;
};

const ended: LineResult = { tag: 'ended' };
const longestPauseMs = 60_000;

/** Null: the line goes on. */
export async function carryOut(run: LineRun, call: AnsweredCall, decision: Decision): Promise<LineResult | null> {
  const { ctx, batch, line } = run;
  const { chosen, outcome, usage, answer } = call;
  const { end } = decision;
  for (const keyId of closes(decision.key, chosen.key.keyId)) ctx.closedAtMs.set(keyId, performance.now());
  const reply = await ctx.settle({
    batchId: batch.batchId,
    line,
    call: {
      attemptId: call.attemptId,
      keyId: chosen.key.keyId,
      bucketId: chosen.key.bucketId,
      act: decision.key,
      // A limit that counts what is asked for is not freed by a short answer.
      tokens:
        usage.inputTokens === null || chosen.key.tpmCounts === 'requested'
          ? null
          : usage.inputTokens + (usage.outputTokens ?? 0),
      costNanoUsd: usage.costNanoUsd,
      mayHaveCost: mayHaveCost(run, call),
      isUnanswered: usage.costSource === 'unanswered',
      countsAsAttempt: decision.countsAsAttempt,
      ledger: ledgerEntry(run, call),
      toldRpm: newlyToldRpm(run, call),
      hold: decision.hold ?? null,
    },
    end,
  });
  run.lanes.poke();
  if (decision.countsAsAttempt) run.attemptsSpent += 1;
  const about = {
    batchId: batch.batchId,
    line,
    attemptId: call.attemptId,
    keyName: chosen.key.name,
    model: chosen.model,
    outcome: outcome.tag,
    httpStatus: answer.tag === 'http' ? answer.status : null,
    durationMs: answer.durationMs,
  };
  ctx.log.debug(about, 'answered');
  if (reply.standing) {
    const { now, untilMs } = reply.standing;
    const why = 'message' in outcome ? outcome.message : null;
    ctx.log[now === 'retired' ? 'warn' : 'info']({ ...about, untilMs, why }, `key ${chosen.key.name} is ${now}`);
  }
  if (end) return ended;
  // So long a pause is not sat through: the seat is for others.
  if (decision.pauseMs > longestPauseMs) {
    // Without an attempt to its name it has ended elsewhere meanwhile.
    return reply.attemptsSpent > 0 ? putOff(run, decision.pauseMs) : held;
  }
  if (decision.pauseMs > 0) {
    try {
      await sleep(decision.pauseMs, undefined, { signal: ctx.stopping });
    } catch {
      return { tag: 'held', retryAtMs: null };
    }
  }
  return null;
}

/**
 * Was it perhaps billed, though nobody told how much? A completion without usage surely was, and of a call that broke off
 * after it was sent nobody knows; what the provider refused costs nothing. Without a price for the model nothing was
 * reserved for it either, if not for another candidate.
 */
function mayHaveCost({ ctx }: LineRun, { chosen, outcome, usage }: AnsweredCall): boolean {
  if (factsFor(ctx, chosen).price === null) return false;
  return outcome.tag === 'complete' || usage.costSource === 'unanswered';
}

/** A limit that the headers name, when it is not the one they named before. */
function newlyToldRpm({ ctx }: LineRun, { chosen, answer }: AnsweredCall): number | null {
  if (chosen.key.rpm !== 'auto' || answer.tag !== 'http') return null;
  const rpm = toldRpm(answer.headers, Date.now());
  if (rpm === null || ctx.toldRpm.get(chosen.key.keyId) === rpm) return null;
  ctx.toldRpm.set(chosen.key.keyId, rpm);
  return rpm;
}

/** The keys that nothing more may be sent on, known here before Redis knows. */
function closes(change: KeyAct, keyId: string): string[] {
  if (change.kind === 'cool') return [keyId];
  return change.kind === 'retire' ? change.keyIds : [];
}
