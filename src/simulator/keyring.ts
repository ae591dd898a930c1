/**
 * The keys, the teams and the organisations they belong to: standing, limits, and the purses they spend out of.
 */
import { orgSchema, type KeySettings, type OrgSettings, type TeamSettings } from './key-settings.ts';
import { budgetOf, createPurse, type Purse } from './purse.ts';
import { UsageLog } from './usage-log.ts';
import { SlidingWindow } from './window.ts';

export type Org = {
  readonly name: string;
  readonly purse: Purse;
  suspended: boolean;
  dailyCalls: number | null;
  callsToday: number;
  /** Days since 1970, UTC. */
  day: number;
};

export type Key = {
  readonly name: string;
  readonly token: string;
  readonly org: Org;
  rpm: number | null;
  tpm: number | null;
  maxConcurrent: number | null;
  inFlight: number;
  inFlightNanoUsd: number;
  inFlightBudgetNanoUsd: number | null;
  maxRequestCostNanoUsd: number | null;
  /** All that a call is booked on, the key's own first. */
  readonly purses: readonly Purse[];
  expiresAtMs: number | null;
  revoked: boolean;
  rotatedAtMs: number | null;
  trialEnded: boolean;
  allowedIps: ReadonlySet<string> | null;
  allowedModels: ReadonlySet<string> | null;
  readonly requests: SlidingWindow;
  readonly tokens: SlidingWindow;
  readonly usage: UsageLog;
};

export type KeyringOptions = {
  keys: readonly KeySettings[];
  teams: Readonly<Record<string, TeamSettings>>;
  orgs: Readonly<Record<string, OrgSettings>>;
  windowMs: number;
  usageLogSize: number;
};

export class Keyring {
  readonly #byToken = new Map<string, Key>();
  readonly #byName = new Map<string, Key>();
  readonly #teams = new Map<string, Purse>();
  readonly #orgs = new Map<string, Org>();

  constructor(options: KeyringOptions) {
    for (const [name, org] of Object.entries(options.orgs)) this.#orgs.set(name, createOrg(name, org));
    for (const [name, { budgetUsd }] of Object.entries(options.teams)) {
      this.#teams.set(name, createPurse('team', name, budgetUsd));
    }
    for (const settings of options.keys) {
      const key = createKey(settings, this.#pursesOf(settings), this.#orgNamed(settings.org), options);
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

  team(name: string): Purse | undefined {
    return this.#teams.get(name);
  }

  keys(): Key[] {
    return [...this.#byName.values()];
  }

  teams(): Purse[] {
    return [...this.#teams.values()];
  }

  orgs(): Org[] {
    return [...this.#orgs.values()];
  }

  #pursesOf({ name, budgetUsd, sessionBudgetUsd, team, org }: KeySettings): Purse[] {
    const purses = [createPurse('key', name, budgetUsd)];
    if (sessionBudgetUsd !== null) purses.push(createPurse('session', name, sessionBudgetUsd));
    if (team !== undefined) purses.push(this.#teamNamed(team));
    purses.push(this.#orgNamed(org).purse);
    return purses;
  }

  #teamNamed(name: string): Purse {
    const team = this.#teams.get(name) ?? createPurse('team', name, null);
    this.#teams.set(name, team);
    return team;
  }

  #orgNamed(name: string): Org {
    const org = this.#orgs.get(name) ?? createOrg(name, orgSchema.parse({}));
    this.#orgs.set(name, org);
    return org;
  }
}

function createOrg(name: string, { budgetUsd, dailyCalls, suspended }: OrgSettings): Org {
  const purse = createPurse('org', name, budgetUsd);
  return { name, purse, suspended, dailyCalls, callsToday: 0, day: Number.NEGATIVE_INFINITY };
}

function createKey(settings: KeySettings, purses: Purse[], org: Org, options: KeyringOptions): Key {
  const { name, token, rpm, tpm, maxConcurrent, inFlightBudgetUsd, maxRequestCostUsd, revoked } = settings;
  return {
    name,
    token,
    org,
    rpm,
    tpm,
    maxConcurrent,
    inFlight: 0,
    inFlightNanoUsd: 0,
    inFlightBudgetNanoUsd: budgetOf(inFlightBudgetUsd),
    maxRequestCostNanoUsd: budgetOf(maxRequestCostUsd),
    purses,
    expiresAtMs: settings.expiresAt,
    revoked,
    rotatedAtMs: null,
    trialEnded: false,
    allowedIps: settings.allowedIps && new Set(settings.allowedIps),
    allowedModels: settings.allowedModels && new Set(settings.allowedModels),
    requests: new SlidingWindow(options.windowMs),
    tokens: new SlidingWindow(options.windowMs),
    usage: new UsageLog(options.usageLogSize),
  };
}

export function mayUse(key: Key, modelId: string): boolean {
  return key.allowedModels === null || key.allowedModels.has(modelId);
}

const dayMs = 86_400_000;

/** Starts the organisation's day when a new one has begun (00:00 UTC): nothing spent, no calls yet. Says whether. */
export function startDay(org: Org, nowMs: number): boolean {
  const day = Math.floor(nowMs / dayMs);
  if (day <= org.day) return false;
  org.day = day;
  emptyDay(org);
  return true;
}

export function emptyDay(org: Org): void {
  org.purse.spentNanoUsd = 0;
  org.callsToday = 0;
}
