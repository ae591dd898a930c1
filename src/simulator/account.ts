/**
 * The simulator's own account of what happened. It is kept apart from what the simulator decides by (keyring, windows):
 * it counts facts and sums money itself. Memory is bounded by the number of keys, organisations and models, unless
 * `trackRequests` asks for a count per prompt.
 */
import type { FaultKind } from './faults.ts';
import type { KeyTruth, ModelTruth, OrgTruth, Truth } from './truth.ts';
import { WindowMaximum } from './window-maximum.ts';

/** What the account needs to know of a call that was let in. */
export type CountedCall = {
  keyName: string;
  modelId: string;
  inputTokens: number;
  outputTokens: number;
  costNanoUsd: number;
  fingerprint: string;
};

type KeyAccount = { truth: KeyTruth; requests: WindowMaximum; tokens: WindowMaximum; capSent: boolean };
type OrgAccount = { truth: OrgTruth; capSent: boolean };

export type AccountOptions = {
  keys: readonly { name: string; org: { name: string } }[];
  orgs: readonly { name: string }[];
  windowMs: number;
  trackRequests: boolean;
};

export class Account {
  calls = 0;
  unauthorized = 0;
  modelListings = 0;
  usageListings = 0;
  readonly events: Truth['events'] = { applied: 0, failed: [] };
  readonly #keys = new Map<string, KeyAccount>();
  readonly #orgs = new Map<string, OrgAccount>();
  readonly #models = new Map<string, ModelTruth>();
  readonly #faults: Truth['faults'] = {};
  readonly #byRequest: Map<string, number> | null;

  constructor({ keys, orgs, windowMs, trackRequests }: AccountOptions) {
    this.#byRequest = trackRequests ? new Map() : null;
    for (const { name, org } of keys) {
      const requests = new WindowMaximum(windowMs);
      this.#keys.set(name, {
        truth: emptyKey(org.name),
        requests,
        tokens: new WindowMaximum(windowMs),
        capSent: false,
      });
    }
    for (const { name } of orgs) {
      this.#orgs.set(name, { truth: { billed: 0, costNanoUsd: 0, callsAfterOrgCap: 0 }, capSent: false });
    }
  }

  /** A completion call with a good key has arrived; returns its number. */
  arrived(keyName: string): number {
    const key = this.#key(keyName);
    const org = this.#org(key.truth.org);
    key.truth.calls += 1;
    if (key.capSent) key.truth.callsAfter402 += 1;
    if (org.capSent) org.truth.callsAfterOrgCap += 1;
    return (this.calls += 1);
  }

  admitted({ keyName, modelId, inputTokens, outputTokens }: CountedCall, nowMs: number): void {
    const { truth, requests, tokens } = this.#key(keyName);
    requests.add(nowMs, 1);
    tokens.add(nowMs, inputTokens + outputTokens);
    truth.inFlight += 1;
    truth.maxInFlight = Math.max(truth.maxInFlight, truth.inFlight);
    this.#model(modelId).calls += 1;
  }

  billed(call: CountedCall): void {
    const { truth } = this.#key(call.keyName);
    truth.billed += 1;
    truth.inputTokens += call.inputTokens;
    truth.outputTokens += call.outputTokens;
    truth.costNanoUsd += call.costNanoUsd;
    const org = this.#org(truth.org).truth;
    org.billed += 1;
    org.costNanoUsd += call.costNanoUsd;
    this.#model(call.modelId).billed += 1;
    this.#byRequest?.set(call.fingerprint, (this.#byRequest.get(call.fingerprint) ?? 0) + 1);
  }

  /** A call that was let in is over. `unansweredBecause`: null when the whole answer left. */
  ended(call: CountedCall, end: { billed: boolean; unansweredBecause: string | null }): void {
    const { truth } = this.#key(call.keyName);
    truth.inFlight -= 1;
    if (end.unansweredBecause === null) truth.answered += 1;
    else if (end.billed) count(truth.billedUnanswered, end.unansweredBecause);
  }

  sent(keyName: string, status: number): void {
    count(this.#key(keyName).truth.statuses, status);
  }

  refusedByWindow(keyName: string): void {
    this.#key(keyName).truth.rejected429 += 1;
  }

  refusedByBudget(keyName: string, whose: 'key_budget' | 'org_budget'): void {
    const key = this.#key(keyName);
    if (whose === 'key_budget') key.capSent = true;
    else this.#org(key.truth.org).capSent = true;
  }

  keyBudgetRaised(keyName: string): void {
    const key = this.#key(keyName);
    key.capSent = false;
    key.truth.callsAfter402 = 0;
  }

  orgBudgetRaised(orgName: string): void {
    const org = this.#org(orgName);
    org.capSent = false;
    org.truth.callsAfterOrgCap = 0;
  }

  struck(fault: FaultKind): void {
    count(this.#faults, fault);
  }

  /** A copy that stays as it is. */
  truth(): Truth {
    const keys: Truth['keys'] = {};
    const totals: Truth['totals'] = { ...emptyTotals(), calls: this.calls };
    for (const [name, { truth, requests, tokens }] of this.#keys) {
      keys[name] = { ...structuredClone(truth), maxInWindow: requests.max, maxTokensInWindow: tokens.max };
      for (const field of summed) totals[field] += truth[field];
      for (const [status, times] of Object.entries(truth.statuses)) count(totals.statuses, status, times);
      totals.billedUnanswered += Object.values(truth.billedUnanswered).reduce((sum, times) => sum + times, 0);
    }
    return {
      keys,
      orgs: Object.fromEntries([...this.#orgs].map(([name, { truth }]) => [name, { ...truth }])),
      models: Object.fromEntries([...this.#models].map(([id, truth]) => [id, { ...truth }])),
      totals,
      unauthorized: this.unauthorized,
      modelListings: this.modelListings,
      usageListings: this.usageListings,
      faults: { ...this.#faults },
      events: structuredClone(this.events),
      byRequest: this.#byRequest && Object.fromEntries(this.#byRequest),
    };
  }

  #key(name: string): KeyAccount {
    return this.#keys.get(name)!;
  }

  #org(name: string): OrgAccount {
    return this.#orgs.get(name)!;
  }

  #model(id: string): ModelTruth {
    let model = this.#models.get(id);
    if (!model) this.#models.set(id, (model = { calls: 0, billed: 0 }));
    return model;
  }
}

const summed = ['answered', 'billed', 'inputTokens', 'outputTokens', 'costNanoUsd', 'rejected429', 'inFlight'] as const;

function count(counts: Record<string, number>, name: string | number, times = 1): void {
  counts[name] = (counts[name] ?? 0) + times;
}

function emptyTotals(): Truth['totals'] {
  const none = { answered: 0, billed: 0, billedUnanswered: 0, inputTokens: 0, outputTokens: 0, costNanoUsd: 0 };
  return { calls: 0, ...none, rejected429: 0, inFlight: 0, statuses: {} };
}

function emptyKey(org: string): KeyTruth {
  return {
    ...emptyTotals(),
    org,
    billedUnanswered: {},
    maxInWindow: 0,
    maxTokensInWindow: 0,
    callsAfter402: 0,
    maxInFlight: 0,
  };
}
