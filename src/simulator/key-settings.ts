/** What a scenario says of a key, a team and an organisation. keyring.ts makes the living ones of it. */
import { z } from 'zod';
import { budgetSchema } from './purse.ts';

/** Per window; null: none. */
export const limitSchema = z.number().int().positive().nullable();
export const instantSchema = z.union(
  [z.number().int(), z.iso.datetime({ offset: true }).transform((text) => Date.parse(text))],
  'expected Unix milliseconds or an ISO time such as "2027-01-31T12:00:00Z"',
);

export const keySchema = z.strictObject({
  name: z.string().min(1),
  /** Made from the seed and the name when absent. */
  token: z.string().regex(/^\S+$/, 'expected a token without spaces').optional(),
  rpm: limitSchema.default(600),
  tpm: limitSchema.default(null),
  /** Calls at once. */
  maxConcurrent: limitSchema.default(null),
  budgetUsd: budgetSchema.default(null),
  sessionBudgetUsd: budgetSchema.default(null),
  /** What the calls in flight may cost together. */
  inFlightBudgetUsd: budgetSchema.default(null),
  /** What one call may cost. */
  maxRequestCostUsd: budgetSchema.default(null),
  expiresAt: instantSchema.nullable().default(null),
  revoked: z.boolean().default(false),
  /** Addresses this key may be used from; null: all. */
  allowedIps: z.array(z.string()).nullable().default(null),
  allowedModels: z.array(z.string()).nullable().default(null),
  team: z.string().min(1).optional(),
  org: z.string().min(1).default('sim-org'),
});
export type KeySettings = z.infer<typeof keySchema> & { token: string };

export const teamSchema = z.strictObject({ budgetUsd: budgetSchema.default(null) });
export const orgSchema = z.strictObject({
  budgetUsd: budgetSchema.default(null),
  /** The plan's quota: calls of one UTC day. */
  dailyCalls: limitSchema.default(null),
  suspended: z.boolean().default(false),
});

export type TeamSettings = z.infer<typeof teamSchema>;
export type OrgSettings = z.infer<typeof orgSchema>;
