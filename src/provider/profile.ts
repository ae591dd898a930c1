/**
 * A profile: what is particular to one kind of provider and known before any call — paths, headers, the form of a key.
 * What its answers mean is in classify.ts. Source: providers.md §1.
 */
import type { ProviderKind } from '../config.ts';

export type Profile = {
  chatPath: string;
  modelsPath: string;
  /** A page that only a working key may read, and that costs nothing; null where none is known. */
  proofPath: string | null;
  authHeaders: (secret: string) => Record<string, string>;
  /** Why this cannot be a key (expected, got, cure; never the key itself), or null when its form is right. */
  secretProblem: (secret: string) => string | null;
  /** The most requests per minute that any key of this provider is given; null: unknown. */
  mostRpm: number | null;
  /** The next time an organisation's budget starts anew, Unix ms; null when unknown. */
  orgBudgetResetMs: (nowMs: number) => number | null;
};

const privatemind: Profile = {
  chatPath: '/v1/chat/completions',
  modelsPath: '/v1/models',
  proofPath: '/v1/usage?limit=1',
  authHeaders: (secret) => ({ authorization: `Bearer ${secret}` }),
  secretProblem(secret) {
    const form = 'expected <access_key_id>:<secret>, the whole token from Settings → API Keys';
    if (/\s/.test(secret)) return `holds spaces or line breaks; ${form}, without them`;
    const colon = secret.indexOf(':');
    if (colon === -1) {
      const half = secret.startsWith('PMIND') ? 'only the access key id' : 'only one half, without the colon';
      return `${form}; this is ${half}: half a token is refused`;
    }
    if (!secret.startsWith('PMIND')) return `${form}; the access key id must start with PMIND`;
    const tail = secret.slice(colon + 1);
    if (!/^[0-9a-f]{64}$/i.test(tail)) {
      return `${form}; the part behind the colon must be 64 hex characters, this has ${tail.length} characters`;
    }
    return null;
  },
  mostRpm: 600,
  // User and organisation budgets reset on the 1st of the month, UTC.
  orgBudgetResetMs(nowMs) {
    const now = new Date(nowMs);
    return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
  },
};

const profiles: Record<ProviderKind, Profile> = { privatemind };

export function profileOf(kind: ProviderKind): Profile {
  return profiles[kind];
}
