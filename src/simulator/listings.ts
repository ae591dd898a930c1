/** The two listings: the models a caller may see, and the calls a key has made. */
import { authenticate } from './authenticate.ts';
import { mayUse } from './keyring.ts';
import { refuse, send, type Exchange } from './respond.ts';
import type { World } from './world.ts';

const defaultUsageLimit = 100;
const maxUsageLimit = 1000;

/** A stranger is answered too, but sees no prices; a broken key is refused. */
export function handleModels(world: World, exchange: Exchange): void {
  const caller = authenticate(world, exchange.request.headers);
  if (caller.kind === 'refused') {
    world.account.unauthorized += 1;
    refuse(world, exchange, caller.refusal);
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
  const caller = authenticate(world, exchange.request.headers);
  if (caller.kind !== 'key') {
    world.account.unauthorized += 1;
    refuse(world, exchange, caller.kind === 'refused' ? caller.refusal : { reason: 'missing_token' });
    return;
  }
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
  send(exchange, 200, JSON.stringify(world.scenario.dialect.usagePage(caller.key.usage.newest(limit, fromMs))));
}
