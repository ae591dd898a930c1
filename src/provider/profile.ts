/**
 * A profile: what is particular to one kind of provider and known before any call — paths, headers, the form of a key,
 * when its budgets start anew. What its answers mean is in answer-table.ts. Source: providers.md §1, §2, §3.
 */
import type { ProviderKind } from '../config.ts';

/** What a call carries to say who it is from. */
export type Credentials = {
  secret: string;
  /** Curate-Me: the upstream provider's own key, where the gateway does not store it. */
  upstreamSecret: string | null;
};

export type Profile = {
  chatPath: string;
  modelsPath: string;
  /** A page that only a working key may read, and that costs nothing; null where none is known. */
  proofPath: string | null;
  /** Where a call that is held for a person's approval can be asked about; null where there is no such thing. */
  approvalPath: ((approvalId: string) => string) | null;
  authHeaders: (credentials: Credentials) => Record<string, string>;
  /** Why this cannot be a key (expected, got, cure; never the key itself), or null when its form is right. */
  secretProblem: (secret: string) => string | null;
  /** The most requests per minute that any key of this provider is given; null: unknown. */
  mostRpm: number | null;
  /** Usage comes with every stream (PrivateMind), or only when it is asked for (OpenAI). */
  streamsUsageUnasked: boolean;
  /** When to try again an organisation whose budget is exhausted now, Unix ms; null when unknown. */
  orgBudgetResetMs: (nowMs: number) => number | null;
};

const privatemind: Profile = {
  chatPath: '/v1/chat/completions',
  modelsPath: '/v1/models',
  proofPath: '/v1/usage?limit=1',
  approvalPath: null,
  authHeaders: ({ secret }) => ({ authorization: `Bearer ${secret}` }),
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
  streamsUsageUnasked: true,
  // User and organisation budgets reset on the 1st of the month, UTC.
  orgBudgetResetMs: nextMonthMs,
};

const curateMe: Profile = {
  chatPath: '/v1/openai/chat/completions',
  modelsPath: '/v1/models',
  proofPath: '/v1/admin/me',
  approvalPath: (approvalId) => `/v1/approvals/${encodeURIComponent(approvalId)}/status`,
  authHeaders: ({ secret, upstreamSecret }) => ({
    'x-cm-api-key': secret,
    ...(upstreamSecret !== null && { authorization: `Bearer ${upstreamSecret}` }),
  }),
  secretProblem(secret) {
    const form = 'expected a gateway key that starts with cm_sk_';
    if (/\s/.test(secret)) return `holds spaces or line breaks; ${form}, without them`;
    if (secret.startsWith('cm_rt_')) return `${form}; this is a runner token (cm_rt_)`;
    if (!secret.startsWith('cm_sk_')) return `${form}; this starts otherwise and would be refused`;
    return secret.length > 'cm_sk_'.length ? null : `${form}; this is only its prefix`;
  },
  mostRpm: null,
  streamsUsageUnasked: false,
  // The organisation's daily limit resets at 00:00 UTC.
  orgBudgetResetMs: nextDayMs,
};

const openai: Profile = {
  chatPath: '/v1/chat/completions',
  modelsPath: '/v1/models',
  proofPath: null,
  approvalPath: null,
  authHeaders: ({ secret }) => ({ authorization: `Bearer ${secret}` }),
  secretProblem: (secret) => (/\s/.test(secret) ? 'holds spaces or line breaks; expected the key alone' : null),
  mostRpm: null,
  streamsUsageUnasked: false,
  orgBudgetResetMs: () => null,
};

const profiles: Record<ProviderKind, Profile> = { privatemind, 'curate-me': curateMe, openai };

export function profileOf(kind: ProviderKind): Profile {
  return profiles[kind];
}

/**
 * A provider resets its budgets by its own clock, or by a job that takes its time: right after the boundary they may still
 * be those of before. So long after it, another try is worth it; who is refused then has spent the new budget.
 */
const resetTakesMs = 5 * 60_000;

/** When a daily budget that is exhausted now is refilled. */
export function nextDayMs(nowMs: number): number {
  const now = new Date(nowMs);
  const startOf = (date: number) => Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), date);
  return refilledMs(nowMs, startOf(now.getUTCDate()), startOf(now.getUTCDate() + 1));
}

/** When a monthly budget that is exhausted now is refilled. */
export function nextMonthMs(nowMs: number): number {
  const now = new Date(nowMs);
  const startOf = (month: number) => Date.UTC(now.getUTCFullYear(), month, 1);
  return refilledMs(nowMs, startOf(now.getUTCMonth()), startOf(now.getUTCMonth() + 1));
}

function refilledMs(nowMs: number, lastMs: number, nextMs: number): number {
  const isDoneMs = lastMs + resetTakesMs;
  return nowMs < isDoneMs ? isDoneMs : nextMs;
}
