/**
 * Asking every key for its models before a batch begins: finds a wrong URL, dead keys, misspelt models, and those that no
 * budget can count, while nothing has been spent.
 */
import type { Redis } from '../src/redis/client.ts';
import { baseUrlVariableOf, type Config } from '../src/config.ts';
import { AppError } from '../src/errors.ts';
import type { Key, Keyring } from '../src/keys/keyring.ts';
import { createListings } from '../src/keys/listings.ts';
import { registerKeys, retireKeys } from '../src/keys/standing.ts';
import type { Log } from '../src/log.ts';
import { createClient } from '../src/provider/client.ts';
import { nearestNames, resolveModel, type Listing } from '../src/provider/models.ts';
import type { Names } from '../src/redis/names.ts';
import { tellRefused, wordsOf, type Refusal } from './refused.ts';

type UnknownModel = { model: string; nearest: string[] };
type Grounds = {
  config: Config;
  keyring: Keyring;
  redis: Redis;
  names: Names;
  log: Log;
  /** The batch's. */
  budgetNanoUsd: number | null;
};
type Offered = { key: Key; listing: Listing };

/** As `checkProviders`, and `input` when no key offers one of the models, unless such lines are skipped. */
export async function refuseUnknownModels(grounds: Grounds, models: Iterable<string>, skip: boolean): Promise<void> {
  const unknown = await checkProviders(grounds, models);
  if (unknown.length === 0 || skip) return;
  const lines = unknown.map(({ model, nearest }) => `  "${model}"; the nearest names: ${nearest.join(', ')}`);
  throw new AppError(
    'input',
    `no key offers these models; nothing was sent:\n${lines.join('\n')}\n` +
      'Mend the lines, or send the others with --skip-invalid',
  );
}

/**
 * Returns the models that no key offers, with the nearest names. Errors: `config` (wrong URL), `credentials` or `budget`
 * (every key refused), `provider` (unreachable).
 */
async function checkProviders(
  { config, keyring, redis, names, log, budgetNanoUsd }: Grounds,
  models: Iterable<string>,
): Promise<UnknownModel[]> {
  const client = createClient({ connections: keyring.keys.length, attemptTimeoutMs: config.attemptTimeoutMs });
  await registerKeys(redis, names, keyring.keys);
  try {
    const { redact } = keyring;
    const listings = createListings({ redis, names, client, maxAgeMs: config.modelsMaxAgeMs, redact });
    const results = await Promise.all(keyring.keys.map(async (key) => ({ key, result: await listings.get(key) })));
    const offered: Offered[] = [];
    const refusals: Refusal[] = [];
    for (const { key, result } of results) {
      if (result.tag === 'listing') offered.push({ key, listing: result.listing });
      else refusals.push({ key, outcome: result.outcome });
    }
    for (const refusal of refusals) await note(refusal);
    if (offered.length === 0) throw allRefused(refusals);
    for (const refusal of refusals) tellRefused({ keyring, log }, refusal);
    warnOfUnpriced(offered);
    return unknownModels(offered);
  } finally {
    await client.close();
  }

  async function note({ key, outcome }: Refusal): Promise<void> {
    if (outcome.tag === 'misconfigured') {
      throw new AppError('config', `${wordsOf(outcome)}; nothing was sent. Correct the base URL: ${urlSetting(key)}`);
    }
    if (outcome.tag === 'key_retired' || outcome.tag === 'org_retired') {
      await retireKeys(redis, names, [key.keyId], outcome.reason, outcome.backInMs);
    }
  }

  function resolved({ key, listing }: Offered, model: string) {
    const aliases = config.aliases[key.provider.name] ?? {};
    return resolveModel(listing, model, { aliases, fallbacks: config.fallbacks });
  }

  function warnOfUnpriced(offered: Offered[]): void {
    const isBounded =
      budgetNanoUsd !== null ||
      config.dailyBudgetNanoUsd !== null ||
      keyring.keys.some((key) => key.budgetNanoUsd !== null);
    if (!isBounded) return;
    const unpriced = new Set<string>();
    for (const model of models) {
      for (const offer of offered) {
        const facts = resolved(offer, model);
        if (facts && !facts.price && !config.prices[facts.id]) unpriced.add(facts.id);
      }
    }
    if (unpriced.size === 0) return;
    const listed = [...unpriced].map((id) => `"${id}"`).join(', ');
    log.warn(`no budget counts what ${listed} cost: no price is known; set it under "prices" in the configuration`);
  }

  function unknownModels(offered: Offered[]) {
    const missing = [...models].filter((model) => !offered.some((offer) => resolved(offer, model)));
    const all = new Map(offered.flatMap(({ listing }) => [...listing]));
    return missing.map((model) => ({ model, nearest: nearestNames(all, model) }));
  }
}

function allRefused(refusals: Refusal[]): AppError {
  const reasons = new Set(refusals.map(({ outcome }) => ('reason' in outcome ? outcome.reason : null)));
  // Several keys mostly meet the same fate: told once.
  const namesByFate = new Map<string, string[]>();
  for (const { key, outcome } of refusals) {
    const reason = 'reason' in outcome ? `${outcome.reason}: ` : '';
    const fate = `${key.provider.baseUrl}: ${reason}${wordsOf(outcome)}`;
    namesByFate.set(fate, [...(namesByFate.get(fate) ?? []), key.name]);
  }
  const lines = [...namesByFate].map(([fate, names]) => `  ${names.join(', ')} at ${fate}`).join('\n');
  if (reasons.has(null)) {
    const [key] = refusals.map((refusal) => refusal.key);
    const cure = `Check the network and the base URL (${key ? urlSetting(key) : ''}), then run the same command again`;
    return new AppError('provider', `no provider answers; nothing was sent:\n${lines}\n${cure}`);
  }
  if ([...reasons].every((reason) => reason === 'exhausted' || reason === 'org_exhausted')) {
    const cure = 'Raise the budget at the provider, then run the same command again';
    return new AppError('budget', `the budget of every key is spent; nothing was sent:\n${lines}\n${cure}`);
  }
  const cure = 'Make new keys at the provider, set them in place of these, and run the same command again';
  return new AppError('credentials', `every key was refused; nothing was sent:\n${lines}\n${cure}`);
}

function urlSetting({ provider }: Key): string {
  const variable = provider.kind === provider.name ? `${baseUrlVariableOf(provider.kind)}, or ` : '';
  return `${variable}providers.${provider.name}.baseUrl in the configuration`;
}
