/**
 * Configuration: one file (`nightshift.config.json`) or, without a file, a few environment variables; validated whole,
 * unknown fields refused. Secrets are named here (`secretEnv`), never written. Source of the names: README,
 * "Configuration"; the JSON Schema that ships with the package is made from this schema.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { defaultsByKind } from './config-environment.ts';
import {
  configSchema,
  keySchema,
  priceSchema,
  providerKinds,
  providerSchema,
  type ConfigFile,
  type ProviderKind,
} from './config-file.ts';
import { describeConfigIssue } from './config-issue.ts';
import { keysOfEnvironment, keysOfFile, nanoUsdPerUsd } from './config-keys.ts';
import { AppError, messageOf, systemErrorCode } from './errors.ts';

export { nanoUsdPerUsd };
export { baseUrlVariableOf } from './config-environment.ts';
export { configSchema, providerKinds, type ProviderKind } from './config-file.ts';

export type ProviderConfig = {
  name: string;
  kind: ProviderKind;
  /** Without a trailing slash and without /v1. */
  baseUrl: string;
  windowMs: number;
};

export type KeyConfig = {
  name: string;
  provider: string;
  /** The environment variable, for messages; never the secret. */
  secretFrom: string;
  secret: string;
  upstreamSecret: string | null;
  rpm: number | 'auto' | null;
  tpm: number | 'auto' | null;
  tpmCounts: 'used' | 'requested';
  maxInFlight: number | null;
  budgetNanoUsd: number | null;
  org: string;
  bucket: string | null;
};

export type Price = { inputUsdPerMTok: number; outputUsdPerMTok: number };

export type Config = {
  /** The file it came from, or null when only the environment spoke. */
  file: string | null;
  namespace: string;
  redisUrl: string | null;
  dataDir: string;
  providers: Record<string, ProviderConfig>;
  keys: KeyConfig[];
  fallbacks: Record<string, string[]>;
  aliases: Record<string, Record<string, string>>;
  prices: Record<string, Price>;
  attempts: number;
  attemptTimeoutMs: number;
  streamIdleTimeoutMs: number;
  approvalPollMs: number;
  deadlineMs: number;
  modelsMaxAgeMs: number;
  dailyBudgetNanoUsd: number | null;
};

export type ConfigOptions = {
  /** `--config`; without it `nightshift.config.json` in `cwd` is read when it is there. */
  file?: string | undefined;
  redis?: string | undefined;
  data?: string | undefined;
  /** False for commands that call nobody: the keys' secrets need not be there, and `keys` stays empty. */
  secrets?: boolean;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
};

/**
 * Reads and validates the configuration. Command-line options win over the file, the file over the environment.
 * Errors: `config` with the file and the field. Keys may be absent here; the commands that need one say so.
 */
export function loadConfig(options: ConfigOptions = {}): Config {
  const cwd = options.cwd ?? process.cwd();
  const env = options.env ?? process.env;
  const { file, raw } = readConfigFile(options.file, cwd);
  const providers = resolveProviders(raw, env, file);
  const keys = () => (raw.keys ? keysOfFile(raw.keys, providers, env, file) : keysOfEnvironment(env));
  return {
    file,
    namespace: raw.namespace ?? 'nightshift',
    redisUrl: options.redis ?? raw.redisUrl ?? (env['REDIS_URL'] || null),
    dataDir: path.resolve(cwd, options.data ?? raw.dataDir ?? '.nightshift'),
    providers,
    keys: options.secrets === false ? [] : keys(),
    fallbacks: raw.fallbacks ?? {},
    aliases: raw.aliases ?? {},
    prices: raw.prices ?? {},
    attempts: raw.attempts ?? 5,
    attemptTimeoutMs: raw.attemptTimeoutMs ?? 600_000,
    // A reasoning model may think for a while before its first token, and some proxies send nothing meanwhile.
    streamIdleTimeoutMs: raw.streamIdleTimeoutMs ?? 120_000,
    // People take their time.
    approvalPollMs: raw.approvalPollMs ?? 10_000,
    deadlineMs: raw.deadlineMs ?? 86_400_000,
    modelsMaxAgeMs: raw.modelsMaxAgeMs ?? 60_000,
    dailyBudgetNanoUsd: raw.dailyBudgetUsd === undefined ? null : Math.round(raw.dailyBudgetUsd * nanoUsdPerUsd),
  };
}

function readConfigFile(given: string | undefined, cwd: string): { file: string | null; raw: ConfigFile } {
  const file = path.resolve(cwd, given ?? 'nightshift.config.json');
  if (given === undefined && !existsSync(file)) return { file: null, raw: {} };
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const why = systemErrorCode(cause) === 'ENOENT' ? 'there is no such file' : messageOf(cause);
    const cure = given === undefined ? 'put a readable file there, or name another with --config' : 'correct --config';
    throw new AppError('config', `cannot read the configuration ${file}: ${why}; ${cure}`, { cause });
  }
  let json: unknown;
  try {
    // Editors on Windows put a byte order mark in front.
    json = JSON.parse(text.replace(/^\ufeff/, ''));
  } catch (cause) {
    throw new AppError('config', `${file} is not valid JSON: ${messageOf(cause)}`, { cause });
  }
  const parsed = configSchema.safeParse(json);
  if (parsed.success) return { file, raw: parsed.data };
  const lines = parsed.error.issues.map((issue) => `  ${describeConfigIssue(issue, json, fieldsAt(issue.path))}`);
  throw new AppError('config', `${file} is not a valid configuration:\n${lines.join('\n')}`);
}

/** The fields that an object at this path may have, for the message about an unknown one. */
function fieldsAt(at: readonly PropertyKey[]): string[] {
  const [place] = at;
  if (place === undefined) return Object.keys(configSchema.shape);
  if (place === 'keys') return Object.keys(keySchema.shape);
  if (place === 'providers') return Object.keys(providerSchema.shape);
  return place === 'prices' ? Object.keys(priceSchema.shape) : [];
}

function resolveProviders(
  raw: ConfigFile,
  env: NodeJS.ProcessEnv,
  file: string | null,
): Record<string, ProviderConfig> {
  const given = new Map(Object.entries(raw.providers ?? {}));
  // A kind that nobody uses is not looked at: its variables may be meant for other programs.
  for (const kind of providerKinds) if (!given.has(kind) && isUsed(kind, raw, env)) given.set(kind, {});
  const providers: Record<string, ProviderConfig> = {};
  for (const [providerName, provider] of given) {
    const kind = provider.kind ?? providerKinds.find((known) => known === providerName);
    const at = `${file ?? 'the environment'}: providers.${providerName}`;
    if (!kind)
      throw new AppError(
        'config',
        `${at}: needs "kind", one of ${providerKinds.join(', ')} (or use one of these as its name)`,
      );
    const defaults = defaultsByKind[kind];
    const fromEnv = providerName === kind ? env[defaults.baseUrlEnv] : undefined;
    const baseUrl = provider.baseUrl ?? (fromEnv || defaults.baseUrl);
    const place = provider.baseUrl === undefined ? `the environment variable ${defaults.baseUrlEnv}` : `${at}.baseUrl`;
    providers[providerName] = {
      name: providerName,
      kind,
      baseUrl: normaliseBaseUrl(baseUrl, provider.allowInsecure ?? false, place),
      windowMs: provider.windowMs ?? 60_000,
    };
  }
  return providers;
}

function isUsed(kind: ProviderKind, raw: ConfigFile, env: NodeJS.ProcessEnv): boolean {
  if (kind === 'privatemind') return true;
  if (raw.keys) return raw.keys.some(({ provider }) => provider === kind);
  const { keyEnv, keysEnv } = defaultsByKind[kind];
  return Boolean(env[keyEnv] || env[keysEnv]);
}

function normaliseBaseUrl(text: string, allowInsecure: boolean, at: string): string {
  const url = URL.parse(text);
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new AppError('config', `${at}: expected a URL such as https://api.example.com, got "${text}"`);
  }
  const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol === 'http:' && !loopback && !allowInsecure) {
    throw new AppError(
      'config',
      `${at}: "${url.origin}" would send the keys unencrypted; use https://, or set "allowInsecure": true for it in the configuration file`,
    );
  }
  return (url.origin + url.pathname).replace(/\/+$/, '').replace(/\/+v1$/, '');
}
