/**
 * Configuration: one file (`nightshift.config.json`) or, without a file, a few environment variables; validated whole,
 * unknown fields refused. Secrets are named here (`secretEnv`), never written. Source of the names: README,
 * "Configuration"; the JSON Schema that ships with the package is made from this schema.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { describeConfigIssue } from './config-issue.ts';
import { AppError, messageOf, systemErrorCode } from './errors.ts';

export const providerKinds = ['privatemind', 'curate-me', 'openai'] as const;
export type ProviderKind = (typeof providerKinds)[number];

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'expected letters, digits, ".", "_" or "-"');
const positiveInt = z.number().int().positive();
/** Node's timers hold no more: a longer one would fire at once. */
const longestTimerMs = 2_147_483_647;
const timerMs = positiveInt.max(longestTimerMs);
/** A limit per window: a number, `"auto"` (learn it), or null (there is none). */
const limit = z.union([positiveInt, z.literal('auto'), z.null()], {
  error: 'expected a whole number above 0, "auto" or null',
});

const providerSchema = z.strictObject({
  kind: z.enum(providerKinds).optional().describe('Which API it speaks. Default: the name, where it is a kind.'),
  baseUrl: z.string().optional().describe('With or without a trailing /v1.'),
  windowMs: timerMs.optional().describe('Length of the limit window. Default 60000.'),
  allowInsecure: z.boolean().optional().describe('Allow plain http:// to a host that is not loopback.'),
});

const keySchema = z.strictObject({
  name,
  provider: name,
  secretEnv: z.string().min(1).describe('The environment variable that holds the secret.'),
  upstreamSecretEnv: z
    .string()
    .min(1)
    .optional()
    .describe('Curate-Me: the variable that holds the upstream provider\u2019s own key.'),
  rpm: limit.optional().describe('Requests per window. Default "auto".'),
  tpm: limit.optional().describe('Tokens per window. Default null.'),
  tpmCounts: z.enum(['used', 'requested']).optional().describe('What tpm counts. Default "used".'),
  maxInFlight: positiveInt.optional().describe('Calls at once. Default: no ceiling but --concurrency.'),
  budgetUsd: z.number().positive().optional(),
  org: name.optional().describe('Keys of one organisation share its cap. Default: one per provider.'),
  bucket: name.optional().describe('Keys that share one limit name the same bucket. Default: one per key.'),
});

const priceSchema = z.strictObject({
  inputUsdPerMTok: z.number().nonnegative(),
  outputUsdPerMTok: z.number().nonnegative(),
});

export const configSchema = z.strictObject({
  $schema: z.string().optional(),
  namespace: name.optional(),
  redisUrl: z.string().optional(),
  dataDir: z.string().optional(),
  providers: z.record(name, providerSchema).optional(),
  keys: z.array(keySchema).optional(),
  fallbacks: z.record(z.string(), z.array(z.string())).optional(),
  aliases: z.record(name, z.record(z.string(), z.string())).optional(),
  prices: z.record(z.string(), priceSchema).optional(),
  attempts: positiveInt.max(100).optional(),
  attemptTimeoutMs: timerMs.optional(),
  streamIdleTimeoutMs: timerMs.optional().describe('Longest silence within a stream. Default 120000.'),
  approvalPollMs: timerMs.optional().describe('Between two looks at a held approval. Default 10000.'),
  deadlineMs: positiveInt.optional(),
  modelsMaxAgeMs: positiveInt.optional(),
  dailyBudgetUsd: z.number().positive().optional().describe('Spend of one UTC day, all batches together.'),
});
type ConfigFile = z.infer<typeof configSchema>;

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

type ProviderDefaults = { baseUrl: string; keyEnv: string; keysEnv: string; baseUrlEnv: string };
const defaultsByKind: Record<ProviderKind, ProviderDefaults> = {
  privatemind: {
    baseUrl: 'https://api.privatemind.com',
    keyEnv: 'PMIND_KEY',
    keysEnv: 'PMIND_KEYS',
    baseUrlEnv: 'PMIND_BASE_URL',
  },
  'curate-me': {
    baseUrl: 'https://api.curate-me.ai',
    keyEnv: 'CM_API_KEY',
    keysEnv: 'CM_API_KEYS',
    baseUrlEnv: 'CM_BASE_URL',
  },
  openai: {
    baseUrl: 'https://api.openai.com',
    keyEnv: 'OPENAI_API_KEY',
    keysEnv: 'OPENAI_API_KEYS',
    baseUrlEnv: 'OPENAI_BASE_URL',
  },
};

/** The variable that holds the base URL of the provider that bears its kind's name. */
export function baseUrlVariableOf(kind: ProviderKind): string {
  return defaultsByKind[kind].baseUrlEnv;
}

export const nanoUsdPerUsd = 1e9;

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
    throw new AppError('config', `cannot read the configuration ${file}: ${why}; correct --config`, { cause });
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

const variableName = /^[A-Za-z_][A-Za-z0-9_]*$/;

function keysOfFile(
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

function keysOfEnvironment(env: NodeJS.ProcessEnv): KeyConfig[] {
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
