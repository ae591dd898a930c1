/**
 * The keys and the organisations they belong to: standing, limits, budgets and what was spent. Budgets are compared
 * with what is already booked, and a call is booked when it ends, so calls in flight overshoot, as at the provider.
 */
import { z } from 'zod';
import { nanoUsdOf } from './money.ts';
import { UsageLog } from './usage-log.ts';
import { SlidingWindow } from './window.ts';

const usd = z.number().nonnegative().max(1e6);
/** Per window; null: none. */
export const limitSchema = z.number().int().positive().nullable();
export const budgetSchema = usd.nullable();
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
  budgetUsd: budgetSchema.default(null),
  expiresAt: instantSchema.nullable().default(null),
  revoked: z.boolean().default(false),
  allowedModels: z.array(z.string()).nullable().default(null),
  org: z.string().min(1).default('sim-org'),
});
export type KeySettings = z.infer<typeof keySchema> & { token: string };

export const orgSchema = z.strictObject({ budgetUsd: budgetSchema.default(null) });
export type OrgSettings = z.infer<typeof orgSchema>;

export type Org = { readonly name: string; budgetNanoUsd: number | null; spentNanoUsd: number };

export type Key = {
  readonly name: string;
  readonly token: string;
  readonly org: Org;
  rpm: number | null;
  tpm: number | null;
  budgetNanoUsd: number | null;
  spentNanoUsd: number;
  expiresAtMs: number | null;
  revoked: boolean;
  allowedModels: ReadonlySet<string> | null;
  readonly requests: SlidingWindow;
  readonly tokens: SlidingWindow;
  readonly usage: UsageLog;
};

export type KeyringOptions = {
  keys: readonly KeySettings[];
  orgs: Readonly<Record<string, OrgSettings>>;
  windowMs: number;
  usageLogSize: number;
};

export class Keyring {
  readonly #byToken = new Map<string, Key>();
  readonly #byName = new Map<string, Key>();
  readonly #orgs = new Map<string, Org>();

  constructor(options: KeyringOptions) {
    for (const [name, { budgetUsd }] of Object.entries(options.orgs)) {
      this.#orgs.set(name, { name, budgetNanoUsd: budgetOf(budgetUsd), spentNanoUsd: 0 });
    }
    for (const settings of options.keys) {
      const key: Key = {
        name: settings.name,
        token: settings.token,
        org: this.#orgNamed(settings.org),
        rpm: settings.rpm,
        tpm: settings.tpm,
        budgetNanoUsd: budgetOf(settings.budgetUsd),
        spentNanoUsd: 0,
        expiresAtMs: settings.expiresAt,
        revoked: settings.revoked,
        allowedModels: settings.allowedModels && new Set(settings.allowedModels),
        requests: new SlidingWindow(options.windowMs),
        tokens: new SlidingWindow(options.windowMs),
        usage: new UsageLog(options.usageLogSize),
      };
      this.#byToken.set(key.token, key);
      this.#byName.set(key.name, key);
    }
  }

  byToken(token: string): Key | undefined {
    return this.#byToken.get(token);
  }

  byName(name: string): Key | undefined {
    return this.#byName.get(name);
  }

  org(name: string): Org | undefined {
    return this.#orgs.get(name);
  }

  keys(): Key[] {
    return [...this.#byName.values()];
  }

  orgs(): Org[] {
    return [...this.#orgs.values()];
  }

  #orgNamed(name: string): Org {
    const known = this.#orgs.get(name);
    if (known) return known;
    const org: Org = { name, budgetNanoUsd: null, spentNanoUsd: 0 };
    this.#orgs.set(name, org);
    return org;
  }
}

export function budgetOf(budgetUsd: number | null): number | null {
  return budgetUsd === null ? null : nanoUsdOf(budgetUsd);
}

/** Whether a budget is used up. A budget of zero lets nothing through. */
export function isSpent(purse: { budgetNanoUsd: number | null; spentNanoUsd: number }): boolean {
  return purse.budgetNanoUsd !== null && purse.spentNanoUsd >= purse.budgetNanoUsd;
}

export function mayUse(key: Key, modelId: string): boolean {
  return key.allowedModels === null || key.allowedModels.has(modelId);
}

/** Books what a call cost. */
export function spend(key: Key, costNanoUsd: number): void {
  key.spentNanoUsd += costNanoUsd;
  key.org.spentNanoUsd += costNanoUsd;
}
