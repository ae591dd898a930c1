/** What to do with a line that got no slot, or not even a listing of models: one switch over each kind of reply. */
import { budgetSpent } from '../src/batch/budget-spent.ts';
import type { Intent } from '../src/keys/intent.ts';
import { reapIntent } from '../src/keys/reap.ts';
import type { Candidates } from './candidates.ts';
import type { LaneReply } from './lanes.ts';
import { closedElsewhere, leftToOthers, type Need } from './elsewhere.ts';
import { endKiller, endWithout, hasKilledTooMany, held, pause, wait } from './line-end.ts';
import type { LineResult, LineRun } from './line.ts';
import { retireFor } from './refused.ts';
import { isAlive } from './roster.ts';
import { stopForLackOfKeys } from './stop.ts';

/** A listing could not be had, a circuit is open: as long as its first pause. */
const soonMs = 1000;
/** As long as it takes to notice that a sender is dead. */
const staleRetryMs = 5000;

/**
 * Null: the line goes on. `someCircuitIsOpen`: keys of a provider that is out of order now were not asked. `need`: what
 * the line was estimated to need.
 */
export async function afterNoSlot(
  run: LineRun,
  reply: Exclude<LaneReply, { tag: 'slot' }>,
  { someCircuitIsOpen, need }: { someCircuitIsOpen: boolean; need: Need },
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
      if (someCircuitIsOpen) return { tag: 'held', retryAtMs: Date.now() + soonMs };
      return (
        (await leftToOthers(run, need)) ??
        endWithout(
          run,
          request.customId,
          'request_too_large',
          `it needs more tokens than any key's limit of ${reply.limit} per window admits; lower max_tokens or raise tpm`,
        )
      );
    case 'denied': {
      // A batch's budget and a day's hold for every key; a key's own for no other.
      const left = reply.budget === 'key' ? await leftToOthers(run, need) : null;
      return left ?? pause(run, { code: 'budget', cause: budgetSpent[reply.budget] });
    }
    case 'none': {
      const left = await leftToOthers(run, need);
      if (left) return left;
      const others = await closedElsewhere(run, need);
      return pause(run, await stopForLackOfKeys(ctx, request.model, { ...reply, others }));
    }
    default:
      return reply satisfies never;
  }
}

/**
 * The line has a call in flight that is not this one. If its sender lives, it will settle it (the queue gave the line
 * away too soon); if not, or if it is a call of ours that an error has left behind, the call is given up.
 */
async function afterStaleIntent(run: LineRun, intent: Intent): Promise<LineResult | null> {
  const { ctx } = run;
  const isLost = ctx.attempts.hasLost(intent);
  if (!isLost && (await isAlive(ctx.redis, ctx.names, intent.workerId, ctx.absence))) {
    return { tag: 'held', retryAtMs: Date.now() + staleRetryMs };
  }
  if (await reapIntent(ctx, intent)) run.attemptsSpent += 1;
  return hasKilledTooMany(run) ? endKiller(run) : null;
}

export async function afterRefusedListing(
  run: LineRun,
  { key, outcome }: Extract<Candidates, { tag: 'no_listing' }>,
): Promise<LineResult | null> {
  const { ctx } = run;
  switch (outcome.tag) {
    case 'misconfigured':
      return (await leftToOthers(run)) ?? pause(run, { code: 'config', cause: outcome.message });
    case 'key_retired':
    case 'org_retired': {
      await retireFor(ctx, key, outcome);
      const left = await leftToOthers(run);
      if (left) return left;
      const others = await closedElsewhere(run);
      return pause(run, await stopForLackOfKeys(ctx, run.request.model, { comesBackAtMs: null, others }));
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
      if (ask.tag === 'give_up') return (await leftToOthers(run)) ?? pause(run, { code: 'provider', cause: ask.cause });
      circuit.failed(performance.now(), cause);
      return wait(ctx, soonMs);
    }
    default:
      return outcome satisfies never;
  }
}
