/** The form of `nightshift.config.json`; the JSON Schema that ships with the package is made from it. */
import { z } from 'zod';

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

export const providerSchema = z.strictObject({
  kind: z.enum(providerKinds).optional().describe('Which API it speaks. Default: the name, where it is a kind.'),
  baseUrl: z.string().optional().describe('With or without a trailing /v1.'),
  windowMs: timerMs.optional().describe('Length of the limit window. Default 60000.'),
  allowInsecure: z.boolean().optional().describe('Allow plain http:// to a host that is not loopback.'),
});

export const keySchema = z.strictObject({
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

export const priceSchema = z.strictObject({
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
export type ConfigFile = z.infer<typeof configSchema>;
