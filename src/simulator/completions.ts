/**
 * A completion call comes in. Order of checks: key → form, model, parameters → budgets → scripted refusals → content →
 * room in the windows (a refused call takes no place in them) → approval. What passes is let in and becomes a call
 * (call.ts), or is held (approvals.ts).
 */
import { refuseByBudget, refuseByContent, refuseByRoom } from './admission.ts';
import { authenticate } from './authenticate.ts';
import { Call } from './call.ts';
import { completionTokensOf, planCompletion } from './completion.ts';
import { deliverStatus } from './fault-delivery.ts';
import type { Fault } from './faults.ts';
import type { Key } from './keyring.ts';
import type { Refusal } from './refusal.ts';
import { readRequest } from './request.ts';
import { readBody, refuse, send, type Exchange } from './respond.ts';
import type { World } from './world.ts';

export function handleCompletion(world: World, exchange: Exchange): void {
  const { dialect, maxBodyBytes } = world.scenario;
  const caller = authenticate(world, exchange.request);
  if (caller.kind !== 'key') {
    const known = caller.kind === 'refused' ? caller : { refusal: { reason: 'missing_token' as const }, key: null };
    turnAwayAtTheDoor(world, exchange, known.refusal, known.key);
    return;
  }
  const { key } = caller;
  if (dialect.requireUpstreamKey && !caller.hasUpstreamKey) {
    turnAwayAtTheDoor(world, exchange, { reason: 'upstream_key_missing' }, key);
    return;
  }
  // A call has arrived when its head has: what was sent before a 402 went out must not count as sent after it.
  const callNumber = world.account.arrived(key.name);
  readBody(exchange.request, maxBodyBytes, (text) => admit(world, exchange, key, callNumber, text));
}

function admit(world: World, exchange: Exchange, key: Key, callNumber: number, text: string | null): void {
  const { account, approvals, scenario } = world;
  if (text === null) {
    turnAway(world, exchange, key, { reason: 'body_too_large' });
    return;
  }
  const asked = readRequest(text, key, world.catalogue, scenario.dialect.rules);
  if ('reason' in asked) {
    turnAway(world, exchange, key, asked);
    return;
  }
  approvals.countIfSentAgain(asked.lastUserMessage);
  world.startDay(key.org);
  const broke = refuseByBudget(key);
  if (broke) {
    turnAway(world, exchange, key, broke);
    // A purse of a session bears the key's name.
    account.caps.told(broke.purse?.kind ?? 'plan', broke.purse?.name ?? key.org.name);
    return;
  }
  const target = { callNumber, keyName: key.name, modelId: asked.model.id, stream: asked.stream };
  const scripted = world.faults.strike('refusal', target);
  if (scripted) {
    account.struck(scripted.kind);
    deliverRefusal(world, exchange, key, scripted);
    return;
  }
  const plan = planCompletion(asked, scenario.outputTokens, scenario.seed);
  const nowMs = world.now();
  const completionTokens = completionTokensOf(plan);
  const counts = scenario.tpmCounts === 'requested' ? (asked.maxTokens ?? completionTokens) : completionTokens;
  const windowTokens = asked.promptTokens + counts;
  const refusal = refuseByContent(world, text) ?? refuseByRoom(key, plan, windowTokens, nowMs);
  if (refusal) {
    turnAway(world, exchange, key, refusal, refusal.reason === 'rate_limit');
    return;
  }
  key.requests.add(nowMs, 1);
  key.tokens.add(nowMs, windowTokens);
  key.org.callsToday += 1;
  if (scenario.dialect.governs && approvals.mustHold(text, plan.fingerprint)) {
    const { body, headers } = approvals.hold(exchange.id, key, { plan, text, windowTokens }, nowMs);
    send(exchange, 202, JSON.stringify(body), 'application/json', headers);
    account.sent(key.name, 202);
    return;
  }
  new Call(world, exchange, key, plan, windowTokens, nowMs).run(world.faults.strike('answer', target));
}

/** Before the call counts as one of the key's. */
function turnAwayAtTheDoor(world: World, exchange: Exchange, refusal: Refusal, key: Key | null): void {
  const status = refuse(world, exchange, refusal, key);
  if (status === 401) world.account.unauthorized += 1;
  if (!key) return;
  world.account.sent(key.name, status);
  world.account.refused(key.name, refusal.reason, { byWindow: false });
}

function turnAway(world: World, exchange: Exchange, key: Key, refusal: Refusal, byWindow = false): void {
  world.account.sent(key.name, refuse(world, exchange, refusal, key));
  world.account.refused(key.name, refusal.reason, { byWindow });
}

function deliverRefusal(world: World, exchange: Exchange, key: Key, fault: Fault): void {
  const { reason, retryAfterMs } = fault;
  if (reason) turnAway(world, exchange, key, { reason, ...(retryAfterMs !== undefined && { retryAfterMs }) });
  else world.account.sent(key.name, deliverStatus(fault, exchange, world.scenario.dialect));
}
