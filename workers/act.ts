/**
 * What each outcome does to the request, the key and the batch: one switch (design: the answer table).
 */
import { pauseBatch } from '../src/batch/batch.ts';
import { completed, failed } from './answer-records.ts';
import type { HeldApproval } from './approvals.ts';
import { backoffMs } from './backoff.ts';
import { isStreamed, type AnsweredCall } from './call.ts';
import { carryOut } from './carry-out.ts';
import { leftToOthers } from './elsewhere.ts';
import type { LineResult, LineRun } from './line.ts';
import { closeNow, retiredWith } from './organisation.ts';

const soonMs = 1000;

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
      // A proxy that cuts or holds streams does so again; a whole answer may pass.
      if (isStreamed(run) && !isOurs) run.hasBrokenStream = true;
      return carryOut(run, call, {
        key: { kind: 'neutral' },
        countsAsAttempt: !isOurs,
        end: !isOurs && isLastAttempt(run) ? failed(run, call) : null,
        pauseMs: backoffMs(run.attemptsSpent, outcome.retryAfterMs),
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
        key: { kind: 'retire', reason: outcome.reason, backInMs: outcome.backInMs, keyIds },
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
      const later: LineResult = { tag: 'held', retryAtMs: Date.now() + soonMs };
      const left = mayGoOn || isLastAttempt(run) ? null : await leftToOthers(run).catch(() => later);
      const result = await carryOut(run, call, {
        key: { kind: 'ok' },
        countsAsAttempt: left !== null,
        end: mayGoOn || left ? null : failed(run, call),
        pauseMs: run.modelErrors > 1 ? soonMs : 0,
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

function isLastAttempt(run: LineRun): boolean {
  return run.attemptsSpent + 1 >= run.batch.options.attempts;
}
