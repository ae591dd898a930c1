/**
 * The keyring: the keys this process holds, by name and fingerprint. It is the only place that knows secrets besides
 * the client that sends them; Redis, logs, metrics and files know the keyId (12 hex of the secret's SHA-256) and the
 * name. It also owns redaction: every string from outside passes through `redact` before it is kept or shown.
 */
import { createHash } from 'node:crypto';
import type { Config, KeyConfig, ProviderConfig } from '../config.ts';
import { AppError } from '../errors.ts';
import { profileOf } from '../provider/profile.ts';

export type Key = Omit<KeyConfig, 'secretFrom' | 'provider' | 'bucket'> & {
  keyId: string;
  provider: ProviderConfig;
  /** Quota bucket: the configured name, else the key itself. */
  bucketId: string;
};

export type Keyring = {
  readonly keys: readonly Key[];
  readonly byId: ReadonlyMap<string, Key>;
  /**
   * Takes over a changed configuration: the next request sees the new keys. Calls in flight on a key that is gone end
   * as they are. Errors as `createKeyring`; the keys are then as they were.
   */
  replace: (config: KeyringConfig) => { added: string[]; removed: string[]; changed: string[] };
  /** Calls `listener` after every `replace` that changed something. */
  onReplaced: (listener: () => void) => void;
  /** Replaces every secret, and every long part of one, by its key's name. */
  redact: (text: string) => string;
};

export function keyIdOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex').slice(0, 12);
}

export type KeyringConfig = Pick<Config, 'keys' | 'providers'>;

/** Errors: `config` when a key is malformed (names the key and where it came from, never the secret) or doubled. */
export function createKeyring(config: KeyringConfig): Keyring {
  let byId = readKeys(config);
  let keys = [...byId.values()];
  // Secrets that were ours once are redacted for ever: answers to their last calls are still on the way.
  const known = new Map(byId);
  let redact = createRedactor(keys);
  const listeners: (() => void)[] = [];
  return {
    get keys() {
      return keys;
    },
    get byId() {
      return byId;
    },
    redact: (text) => redact(text),
    onReplaced: (listener) => void listeners.push(listener),
    replace(changedConfig) {
      const next = readKeys(changedConfig);
      const namesOf = (ids: Iterable<string>, of: ReadonlyMap<string, Key>) =>
        [...ids].map((id) => of.get(id)?.name ?? id);
      const kept = [...next.keys()].filter((id) => byId.has(id));
      const result = {
        added: namesOf(
          [...next.keys()].filter((id) => !byId.has(id)),
          next,
        ),
        removed: namesOf(
          [...byId.keys()].filter((id) => !next.has(id)),
          byId,
        ),
        changed: namesOf(
          kept.filter((id) => JSON.stringify(next.get(id)) !== JSON.stringify(byId.get(id))),
          next,
        ),
      };
      for (const [id, key] of next) known.set(id, key);
      byId = next;
      keys = [...next.values()];
      redact = createRedactor([...known.values()]);
      if (Object.values(result).some((names) => names.length > 0)) for (const listener of listeners) listener();
      return result;
    },
  };
}

function readKeys(config: KeyringConfig): Map<string, Key> {
  const byId = new Map<string, Key>();
  for (const { secretFrom, provider: providerName, bucket, ...key } of config.keys) {
    const provider = config.providers[providerName];
    if (!provider) throw new AppError('config', `key "${key.name}": unknown provider "${providerName}"`);
    const problem = profileOf(provider.kind).secretProblem(key.secret);
    if (problem) throw new AppError('config', `key "${key.name}" (from ${secretFrom}): ${problem}`);
    const keyId = keyIdOf(key.secret);
    const twin = byId.get(keyId);
    if (twin) throw new AppError('config', `keys "${twin.name}" and "${key.name}" hold the same secret`);
    byId.set(keyId, { ...key, keyId, provider, bucketId: bucket ?? keyId });
  }
  return byId;
}

/** Errors: `credentials` with the ways to give a key, when there is none. */
export function requireKeys(keyring: Keyring): void {
  if (keyring.keys.length > 0) return;
  throw new AppError(
    'credentials',
    'no API key: set PMIND_KEY, CM_API_KEY or OPENAI_API_KEY (or PMIND_KEYS and so on, separated by commas), or list ' +
      'keys in nightshift.config.json; --simulate needs none',
  );
}

/** Shorter parts than this are left: they could be ordinary words. */
const shortestSecretPart = 12;
/** A stretch that could be a cut-out of a secret: providers echo a key shortened, or in capitals. */
const stretches = new RegExp(`[A-Za-z0-9]{${shortestSecretPart},}`, 'g');

function createRedactor(keys: readonly Key[]): (text: string) => string {
  const parts = keys
    .flatMap((key) =>
      [key.secret, ...key.secret.split(':'), key.upstreamSecret ?? ''].map((part) => ({ part, name: key.name })),
    )
    .filter(({ part }) => part.length >= shortestSecretPart)
    .toSorted((a, b) => b.part.length - a.part.length);
  const folded = keys.map((key) => ({
    secret: `${key.secret}\n${key.upstreamSecret ?? ''}`.toLowerCase(),
    name: key.name,
  }));
  const nameOf = (stretch: string) => folded.find(({ secret }) => secret.includes(stretch.toLowerCase()))?.name;
  return (text) => {
    let clean = text;
    for (const { part, name } of parts) if (clean.includes(part)) clean = clean.replaceAll(part, `[key ${name}]`);
    clean = clean.replace(stretches, (stretch) => {
      const name = nameOf(stretch);
      return name === undefined ? stretch : `[key ${name}]`;
    });
    // Whatever looks like a credential, even one that is not ours.
    return clean.replace(/PMIND[A-Za-z0-9]{8,}(:[0-9a-f]+)?|\b(sk|cm_sk|cm_rt|cm_gw)[-_][A-Za-z0-9_-]{12,}/g, '[key]');
  };
}
