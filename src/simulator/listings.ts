/** What a key can ask for besides completions: the models it may see, the calls it has made, and who it is. */
import assert from 'node:assert/strict';
import { authenticate, type Caller } from './authenticate.ts';
import { mayUse, type Key } from './keyring.ts';
import { refuse, send, type Exchange } from './respond.ts';
import type { World } from './world.ts';

const defaultUsageLimit = 100;
const maxUsageLimit = 1000;

/** Where a stranger is answered too, he sees no prices; a broken key is refused. */
export function handleModels(world: World, exchange: Exchange): void {
  const caller = authenticate(world, exchange.request);
  if (caller.kind === 'refused' || (caller.kind === 'anonymous' && !world.scenario.dialect.openListing)) {
    turnAway(world, exchange, caller);
    return;
  }
  world.account.modelListings += 1;
  const { dialect, listForbiddenModels } = world.scenario;
  const models = world.catalogue.list();
  const key = caller.kind === 'key' ? caller.key : null;
  const visible = key && !listForbiddenModels ? models.filter((model) => mayUse(key, model.id)) : models;
  send(exchange, 200, JSON.stringify(dialect.listing(visible, { withCost: key !== null })));
}

/** The key's own calls, newest first. */
export function handleUsage(world: World, exchange: Exchange, query: URLSearchParams): void {
  const key = keyOf(world, exchange);
  if (!key) return;
  const limit = Number(query.get('limit') ?? defaultUsageLimit);
  if (!Number.isInteger(limit) || limit < 1 || limit > maxUsageLimit) {
    const message = `Expected a limit from 1 to ${maxUsageLimit}`;
    refuse(world, exchange, { reason: 'invalid_request', message, param: 'limit' });
    return;
  }
  const from = query.get('from');
  const fromMs = from === null ? Number.NEGATIVE_INFINITY : /^\d{4}-\d{2}-\d{2}$/.test(from) ? Date.parse(from) : NaN;
  if (Number.isNaN(fromMs)) {
    refuse(world, exchange, { reason: 'invalid_request', message: 'Expected from=YYYY-MM-DD', param: 'from' });
    return;
  }
  world.account.usageListings += 1;
  const { dialect } = world.scenario;
  assert(dialect.usagePage, 'a dialect with this path has its words');
  send(exchange, 200, JSON.stringify(dialect.usagePage(key.usage.newest(limit, fromMs))));
}

export function handleIdentity(world: World, exchange: Exchange): void {
  const key = keyOf(world, exchange);
  if (!key) return;
  const { dialect } = world.scenario;
  assert(dialect.identity, 'a dialect with this path has its words');
  send(exchange, 200, JSON.stringify(dialect.identity(key)));
}

/** Where an approval stands, for a key of the organisation whose request is held. */
export function handleApproval(world: World, exchange: Exchange, approvalId: string): void {
  const key = keyOf(world, exchange);
  if (!key) return;
  const standing = world.approvals.poll(approvalId, key);
  if (standing) send(exchange, 200, JSON.stringify(standing));
  else refuse(world, exchange, { reason: 'unknown_approval', message: `No such approval: ${approvalId}` }, key);
}

/** The caller's key; without a good one he is refused. */
function keyOf(world: World, exchange: Exchange): Key | null {
  const caller = authenticate(world, exchange.request);
  if (caller.kind === 'key') return caller.key;
  turnAway(world, exchange, caller);
  return null;
}

function turnAway(world: World, exchange: Exchange, caller: Exclude<Caller, { kind: 'key' }>): void {
  const isKnown = caller.kind === 'refused';
  const status = refuse(
    world,
    exchange,
    isKnown ? caller.refusal : { reason: 'missing_token' },
    isKnown ? caller.key : null,
  );
  if (status === 401) world.account.unauthorized += 1;
}
