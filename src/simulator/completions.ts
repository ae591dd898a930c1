/**
 * A completion call comes in. Order of checks: key → form, model, parameters → budgets (402) → scripted refusals →
 * window (429; a refused call takes no place in it). What passes is let in and becomes a call (call.ts).
 */
import { authenticate } from './authenticate.ts';
import { Call } from './call.ts';
import { completionTokensOf, planCompletion } from './completion.ts';
import { deliverStatus } from './fault-delivery.ts';
import { isSpent, type Key } from './keyring.ts';
import { readRequest } from './request.ts';
import { readBody, refuse, type Exchange } from './respond.ts';
import type { World } from './world.ts';

export function handleCompletion(world: World, exchange: Exchange): void {
  const caller = authenticate(world, exchange.request.headers);
  if (caller.kind !== 'key') {
    const refused = caller.kind === 'refused';
    const status = refuse(world, exchange, refused ? caller.refusal : { reason: 'missing_token' });
    world.account.unauthorized += 1;
    if (refused && caller.key) world.account.sent(caller.key.name, status);
    return;
  }
  const { key } = caller;
  // A call has arrived when its head has: what was sent before a 402 went out must not count as sent after it.
  const callNumber = world.account.arrived(key.name);
  readBody(exchange.request, (text) => admit(world, exchange, key, callNumber, text));
}

function admit(world: World, exchange: Exchange, key: Key, callNumber: number, text: string | null): void {
  const { account, scenario } = world;
  const asked = text === null ? { reason: 'body_too_large' as const } : readRequest(text, key, world.catalogue);
  if ('reason' in asked) {
    account.sent(key.name, refuse(world, exchange, asked));
    return;
  }
  const broke = isSpent(key) ? 'key_budget' : isSpent(key.org) ? 'org_budget' : null;
  if (broke) {
    account.sent(key.name, refuse(world, exchange, { reason: broke }));
    account.refusedByBudget(key.name, broke);
    return;
  }
  const target = { callNumber, keyName: key.name, modelId: asked.model.id };
  const refusal = world.faults.strike('refusal', target);
  if (refusal) {
    account.struck(refusal.kind);
    account.sent(key.name, deliverStatus(refusal, exchange));
    return;
  }
  const plan = planCompletion(asked, scenario.outputTokens, scenario.seed);
  const nowMs = world.now();
  const tokens = asked.promptTokens + completionTokensOf(plan);
  if (!key.requests.fits(nowMs, 1, key.rpm) || !key.tokens.fits(nowMs, tokens, key.tpm)) {
    account.sent(key.name, refuse(world, exchange, { reason: 'rate_limit' }));
    account.refusedByWindow(key.name);
    return;
  }
  key.requests.add(nowMs, 1);
  key.tokens.add(nowMs, tokens);
  new Call(world, exchange, key, plan, nowMs).run(world.faults.strike('answer', target));
}
