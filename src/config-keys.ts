/** The keys of a configuration with their secrets, from the variables that it names or from the well-known ones. */
import { AppError } from './errors.ts';
import { defaultsByKind } from './config-environment.ts';
import { providerKinds, type ConfigFile } from './config-file.ts';
import type { KeyConfig, ProviderConfig } from './config.ts';

export const nanoUsdPerUsd = 1e9;
const variableName = /^[A-Za-z_][A-Za-z0-9_]*$/;

export function keysOfFile(
  keys: NonNullable<ConfigFile['keys']>,
  providers: Record<string, ProviderConfig>,
  env: NodeJS.ProcessEnv,
  file: string | null,
): KeyConfig[] {
  const names = new Set<string>();
  return keys.map((key, index) => {
    const at = `${file}: keys[${index}] "${key.name}"`;
    if (names.has(key.name)) throw new AppError('config', `${at}: the name is used twice`);
    names.add(key.name);
    if (!Object.hasOwn(providers, key.provider)) {
      throw new AppError(
        'config',
        `${at}: unknown provider "${key.provider}" (known: ${[...new Set([...Object.keys(providers), ...providerKinds])].join(', ')})`,
      );
    }
    if (!variableName.test(key.secretEnv)) {
      // Not shown: it may be the secret itself.
      const cure = 'such as PMIND_KEY_A, and the secret in that variable, not in this file';
      throw new AppError('config', `${at}: secretEnv: expected the name of an environment variable, ${cure}`);
    }
    const secret = secretIn(env, key.secretEnv, at);
    return {
      name: key.name,
      provider: key.provider,
      secretFrom: key.secretEnv,
      secret,
      upstreamSecret: key.upstreamSecretEnv === undefined ? null : secretIn(env, key.upstreamSecretEnv, at),
      rpm: key.rpm === undefined ? 'auto' : key.rpm,
      tpm: key.tpm ?? null,
      tpmCounts: key.tpmCounts ?? 'used',
      maxInFlight: key.maxInFlight ?? null,
      budgetNanoUsd: key.budgetUsd === undefined ? null : Math.round(key.budgetUsd * nanoUsdPerUsd),
      org: key.org ?? key.provider,
      bucket: key.bucket ?? null,
    };
  });
}

function secretIn(env: NodeJS.ProcessEnv, variable: string, at: string): string {
  const secret = env[variable]?.trim();
  if (secret) return secret;
  throw new AppError('config', `${at}: the environment variable ${variable} is not set; set it to the key's secret`);
}

export function keysOfEnvironment(env: NodeJS.ProcessEnv): KeyConfig[] {
  const keys: KeyConfig[] = [];
  for (const kind of providerKinds) {
    const { keyEnv, keysEnv } = defaultsByKind[kind];
    const secrets = [keyEnv, keysEnv].flatMap((variable) =>
      (env[variable] ?? '')
        .split(/[,\n]/)
        .map((secret) => ({ secret: secret.trim(), variable }))
        .filter(({ secret }) => secret !== ''),
    );
    const distinct = new Map(secrets.map((entry) => [entry.secret, entry.variable]));
    for (const [secret, variable] of distinct) {
      keys.push({
        name: distinct.size === 1 ? kind : `${kind}-${keys.filter((key) => key.provider === kind).length + 1}`,
        provider: kind,
        secretFrom: variable,
        secret,
        upstreamSecret: null,
        rpm: 'auto',
        tpm: null,
        tpmCounts: 'used',
        maxInFlight: null,
        budgetNanoUsd: null,
        org: kind,
        bucket: null,
      });
    }
  }
  return keys;
}
