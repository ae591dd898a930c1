/**
 * What each outcome does to the request, the key and the batch: one switch (design: the answer table).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pauseBatch } from '../src/batch/batch.ts';
import type { KeyAct, LineEnd } from '../src/keys/settle.ts';
import { toldRpm } from '../src/provider/rate-headers.ts';
import { completed, failed, ledgerEntry } from './answer-records.ts';
import type { HeldApproval } from './approvals.ts';
import { isStreamed, type AnsweredCall } from './call.ts';
import { factsFor } from './candidates.ts';
import { leftToOthers } from './elsewhere.ts';
import { held } from './line-end.ts';
import type { LineResult, LineRun } from './line.ts';
import { closeNow, retiredWith } from './organisation.ts';
import { putOff } from './put-off.ts';

/** What the switch decides; `carryOut` does it, in one settle. */
type Decision = {
  key: KeyAct;
  countsAsAttempt: boolean;
  end: LineEnd | null;
  /** Before the next round. */
  pauseMs: number;
  /** The approval that the line waits for from now on. */
  hold?: string;
};

const ended: LineResult = { tag: 'ended' };
const backoffBaseMs = 1000;
const backoffMaxMs = 30_000;
const longestPauseMs = 60_000;

/** Null: the line goes on. */
export async function act(run: LineRun, call: AnsweredCall): Promise<LineResult | null> {
  const { ctx, batch } = run;
  const { outcome, chosen } = call;
  const circuit = ctx.circuitOf(chosen.key.provider.name);
  switch (outcome.tag) {
    case 'complete':
      circuit.succeeded();
      return carryOut(run, call, { key: { kind: 'ok' }, countsAsAttempt: true, end: completed(run, call), pauseMs: 0 });

    case 'reject':
      circuit.succeeded();
      return carryOut(run, call, { key: { kind: 'ok' }, countsAsAttempt: true, end: failed(run, call), pauseMs: 0 });

    case 'retry': {
      // Ended by us, not by the provider: no attempt of the line's, or a Ctrl-C could fail it for good.
      const isOurs = call.answer.tag === 'failure' && call.answer.code === 'aborted';
      if (isOurs) circuit.undecided();
      else circuit.failed(performance.now(), `${chosen.key.provider.baseUrl}: ${outcome.message}`);
      const backoffMs = Math.random() * Math.min(backoffMaxMs, backoffBaseMs * 2 ** run.attemptsSpent);
      // A proxy that cuts or holds streams does so again; a whole answer may pass.
      if (isStreamed(run) && !isOurs) run.hasBrokenStream = true;
      return carryOut(run, call, {
        key: { kind: 'neutral' },
        countsAsAttempt: !isOurs,
        end: !isOurs && isLastAttempt(run) ? failed(run, call) : null,
        pauseMs: outcome.retryAfterMs ?? backoffMs,
      });
    }

    case 'rate_limited': {
      circuit.succeeded();
      return carryOut(run, call, {
        key: { kind: 'cool', reason: outcome.code, retryAfterMs: outcome.retryAfterMs, limit: chosen.key },
        countsAsAttempt: true,
        end: isLastAttempt(run) ? failed(run, call) : null,
        pauseMs: 0,
      });
    }

    case 'too_many_at_once':
      circuit.succeeded();
      return carryOut(run, call, {
        key: { kind: 'ceiling', reason: outcome.code, retryAfterMs: outcome.retryAfterMs },
        countsAsAttempt: false,
        end: null,
        pauseMs: 0,
      });

    case 'snooze':
      circuit.succeeded();
      return carryOut(run, call, {
        key: { kind: 'cool', reason: outcome.code, retryAfterMs: outcome.retryAfterMs, limit: null },
        countsAsAttempt: false,
        end: null,
        pauseMs: 0,
      });

    case 'held': {
      circuit.succeeded();
      const approval: HeldApproval = {
        approvalId: outcome.approvalId,
        keyId: chosen.key.keyId,
        attemptId: call.attemptId,
      };
      await carryOut(run, call, {
        key: { kind: 'ok' },
        countsAsAttempt: false,
        end: null,
        pauseMs: 0,
        hold: JSON.stringify(approval),
      });
      return { tag: 'held', retryAtMs: Date.now() + ctx.config.approvalPollMs };
    }

    case 'key_retired':
    case 'org_retired': {
      circuit.succeeded();
      closeNow(ctx, chosen.key, outcome.tag);
      const keyIds = await retiredWith(ctx, chosen.key, outcome.tag);
      return carryOut(run, call, {
        key: { kind: 'retire', reason: outcome.reason, untilMs: outcome.untilMs, keyIds },
        countsAsAttempt: false,
        end: null,
        pauseMs: 0,
      });
    }

    case 'model_unavailable': {
      circuit.succeeded();
      ctx.exclusions.add(chosen.key, chosen.model);
      ctx.listings.distrust(chosen.key);
      run.modelErrors += 1;
      // Every key may refuse once; a second refusal of a freshly listed pair is the provider's last word.
      const mayGoOn = run.modelErrors <= ctx.keyring.keys.length;
      // The answer in hand is settled whatever Redis says to the question. To be handed over costs an attempt: else a
      // model that is listed and never there would go round for ever.
      const later: LineResult = { tag: 'held', retryAtMs: Date.now() + backoffBaseMs };
      const left = mayGoOn || isLastAttempt(run) ? null : await leftToOthers(run).catch(() => later);
      const result = await carryOut(run, call, {
        key: { kind: 'ok' },
        countsAsAttempt: left !== null,
        end: mayGoOn || left ? null : failed(run, call),
        pauseMs: run.modelErrors > 1 ? backoffBaseMs : 0,
      });
      return result ?? left;
    }

    case 'misconfigured': {
      circuit.undecided();
      const { baseUrl } = chosen.key.provider;
      const cause = `${baseUrl} does not answer as a completions API: ${outcome.message}; check the provider's base URL`;
      const settled = await carryOut(run, call, {
        key: { kind: 'neutral' },
        countsAsAttempt: false,
        end: null,
        pauseMs: 0,
      });
      await pauseBatch(ctx.redis, ctx.names, batch.batchId, { code: 'config', cause });
      return settled;
    }

    default:
      return outcome satisfies never;
  }
}

async function carryOut(run: LineRun, call: AnsweredCall, decision: Decision): Promise<LineResult | null> {
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

function isLastAttempt(run: LineRun): boolean {
  return run.attemptsSpent + 1 >= run.batch.options.attempts;
}
