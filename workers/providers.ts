/**
 * Asking every key for its models before a batch begins: finds a wrong URL, dead keys and misspelt models while
 * nothing has been spent.
 */
import type { Redis } from 'ioredis';
import type { Config } from '../src/config.ts';
import { AppError } from '../src/errors.ts';
import type { Key, Keyring } from '../src/keys/keyring.ts';
import { createListings } from '../src/keys/listings.ts';
import { registerKeys, retireKeys } from '../src/keys/standing.ts';
import type { Log } from '../src/log.ts';
import { createClient } from '../src/provider/client.ts';
import { nearestNames, resolveModel, type Listing } from '../src/provider/models.ts';
import type { Outcome } from '../src/provider/outcome.ts';
import type { Names } from '../src/redis/names.ts';

export type ProviderCheck = {
  /** Requested models that no key offers, with the nearest names. */
  unknownModels: { model: string; nearest: string[] }[];
};

type Refusal = { key: Key; outcome: Outcome };

/** Errors: `config` (wrong URL), `credentials` or `budget` (every key refused), `provider` (unreachable). */
export async function checkProviders(options: {
  config: Config;
  keyring: Keyring;
  redis: Redis;
  names: Names;
  log: Log;
  models: Iterable<string>;
}): Promise<ProviderCheck> {
  const { config, keyring, redis, names, log } = options;
  const client = createClient({ connections: keyring.keys.length, attemptTimeoutMs: config.attemptTimeoutMs });
  await registerKeys(redis, names, keyring.keys);
  try {
    const { redact } = keyring;
    const listings = createListings({ redis, names, client, maxAgeMs: config.modelsMaxAgeMs, redact });
    const results = await Promise.all(keyring.keys.map(async (key) => ({ key, result: await listings.get(key) })));
    const offered: { key: Key; listing: Listing }[] = [];
    const refusals: Refusal[] = [];
    for (const { key, result } of results) {
      if (result.tag === 'listing') offered.push({ key, listing: result.listing });
      else refusals.push({ key, outcome: result.outcome });
    }
    for (const refusal of refusals) await note(refusal);
    if (offered.length === 0) throw allRefused(refusals);
    return { unknownModels: unknownModels(offered) };
  } finally {
    await client.close();
  }

  async function note({ key, outcome }: Refusal): Promise<void> {
    if (outcome.tag === 'misconfigured') throw new AppError('config', outcome.message);
    log.warn({ keyName: key.name, why: 'message' in outcome ? outcome.message : null }, `key ${key.name} was refused`);
    if (outcome.tag === 'key_retired' || outcome.tag === 'org_retired') {
      await retireKeys(redis, names, [key.keyId], outcome.reason, outcome.untilMs);
    }
  }

  function unknownModels(offered: { key: Key; listing: Listing }[]) {
    const missing = [...options.models].filter((model) => {
      return !offered.some(({ key, listing }) => {
        const aliases = config.aliases[key.provider.name] ?? {};
        return resolveModel(listing, model, { aliases, fallbacks: config.fallbacks });
      });
    });
    const all = new Map(offered.flatMap(({ listing }) => [...listing]));
    return missing.map((model) => ({ model, nearest: nearestNames(all, model) }));
  }
}

function allRefused(refusals: Refusal[]): AppError {
  const lines = refusals.map(({ key, outcome }) => {
    const why = outcome.tag === 'key_retired' || outcome.tag === 'org_retired' ? `${outcome.reason}: ` : '';
    return `  ${key.name} at ${key.provider.baseUrl}: ${why}${'message' in outcome ? outcome.message : outcome.tag}`;
  });
  const retired = refusals.filter(({ outcome }) => outcome.tag === 'key_retired' || outcome.tag === 'org_retired');
  if (retired.length < refusals.length) return new AppError('provider', `no provider answers:\n${lines.join('\n')}`);
  return new AppError('credentials', `every key was refused:\n${lines.join('\n')}`);
}
