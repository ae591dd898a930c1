/**
 * The simulator's own account of what happened. It is kept apart from what the simulator decides by (keyring, windows):
 * it counts facts and sums money itself. Memory is bounded by the number of keys, organisations and models, unless
 * `trackRequests` asks for a count per prompt.
 */
import { Caps, countArrival, type Cap } from './caps.ts';
import type { FaultKind } from './faults.ts';
import type { Purse } from './purse.ts';
import type { RefusalReason } from './refusal.ts';
import { emptyKey, emptyTotals, type KeyTruth, type ModelTruth, type Truth } from './truth.ts';
import { WindowMaximum } from './window-maximum.ts';

/** What the account needs to know of a call that was let in. */
export type CountedCall = {
  keyName: string;
  modelId: string;
  inputTokens: number;
  outputTokens: number;
  /** As the limit counts them. */
  windowTokens: number;
  costNanoUsd: number;
  fingerprint: string;
};

type Sums = { billed: number; costNanoUsd: number };
type KeyAccount = {
  truth: KeyTruth;
  requests: WindowMaximum;
  tokens: WindowMaximum;
  /** Of its team and its organisation. */
  sums: readonly Sums[];
  caps: readonly Cap[];
};

export type AccountOptions = {
  keys: readonly { name: string; org: { name: string }; purses: readonly Purse[] }[];
  teams: readonly { name: string }[];
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
  readonly approvals: Truth['approvals'] = { held: 0, polls: 0, approved: 0, rejected: 0, collected: 0, sentAgain: 0 };
  readonly caps = new Caps();
  readonly #keys = new Map<string, KeyAccount>();
  readonly #teams = new Map<string, Sums>();
  readonly #orgs = new Map<string, Sums>();
  readonly #models = new Map<string, ModelTruth>();
  readonly #faults: Truth['faults'] = {};
  readonly #byRequest: Map<string, number> | null;

  constructor({ keys, teams, orgs, windowMs, trackRequests }: AccountOptions) {
    this.#byRequest = trackRequests ? new Map() : null;
    for (const { name } of teams) this.#teams.set(name, { billed: 0, costNanoUsd: 0 });
    for (const { name } of orgs) this.#orgs.set(name, { billed: 0, costNanoUsd: 0 });
    for (const { name, org, purses } of keys) {
      const team = purses.find(({ kind }) => kind === 'team')?.name;
      this.#keys.set(name, {
        truth: emptyKey(org.name),
        requests: new WindowMaximum(windowMs),
        tokens: new WindowMaximum(windowMs),
        sums: [...(team === undefined ? [] : [this.#teams.get(team)!]), this.#orgs.get(org.name)!],
        caps: [
          this.caps.of('key', name),
          ...(team === undefined ? [] : [this.caps.of('team', team)]),
          this.caps.of('org', org.name),
        ],
      });
    }
  }

  /** A completion call with a good key has arrived; returns its number. */
  arrived(keyName: string): number {
    const key = this.#key(keyName);
    key.truth.calls += 1;
    countArrival(key.caps);
    return (this.calls += 1);
  }

  admitted(call: CountedCall, nowMs: number): void {
    const { truth } = this.#takePlace(call, nowMs);
    truth.inFlight += 1;
    truth.maxInFlight = Math.max(truth.maxInFlight, truth.inFlight);
  }

  /** It takes its place in the window, and waits for a person. */
  held(call: CountedCall, nowMs: number): void {
    this.#takePlace(call, nowMs);
    this.approvals.held += 1;
  }

  /** A poll has fetched the answer of an approved call. */
  collected(keyName: string): void {
    this.#key(keyName).truth.answered += 1;
    this.approvals.collected += 1;
  }

  billed(call: CountedCall): void {
    const { truth, sums } = this.#key(call.keyName);
    truth.inputTokens += call.inputTokens;
    truth.outputTokens += call.outputTokens;
    book(truth, call);
    for (const sum of sums) book(sum, call);
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

  /** Once the refusal has been sent. `byWindow`: by the limit itself, not by a script. */
  refused(keyName: string, reason: RefusalReason, { byWindow }: { byWindow: boolean }): void {
    const { truth } = this.#key(keyName);
    count(truth.refusals, reason);
    if (byWindow) truth.rejected429 += 1;
  }

  struck(fault: FaultKind): void {
    count(this.#faults, fault);
  }

  /** A copy that stays as it is. */
  truth(): Truth {
    const keys: Truth['keys'] = {};
    const totals: Truth['totals'] = { ...emptyTotals(), calls: this.calls };
    for (const [name, { truth, requests, tokens, caps }] of this.#keys) {
      keys[name] = {
        ...structuredClone(truth),
        maxInWindow: requests.max,
        maxTokensInWindow: tokens.max,
        callsAfter402: caps[0]!.callsAfter,
      };
      for (const field of summed) totals[field] += truth[field];
      for (const [status, times] of Object.entries(truth.statuses)) count(totals.statuses, status, times);
      totals.billedUnanswered += Object.values(truth.billedUnanswered).reduce((sum, times) => sum + times, 0);
    }
    return {
      keys,
      orgs: mapValues(this.#orgs, (sums, name) => ({
        ...sums,
        callsAfterOrgCap: this.caps.of('org', name).callsAfter,
      })),
      teams: mapValues(this.#teams, (sums, name) => ({
        ...sums,
        callsAfterCap: this.caps.of('team', name).callsAfter,
      })),
      models: mapValues(this.#models, (truth) => ({ ...truth })),
      totals,
      unauthorized: this.unauthorized,
      modelListings: this.modelListings,
      usageListings: this.usageListings,
      faults: { ...this.#faults },
      approvals: { ...this.approvals },
      events: structuredClone(this.events),
      byRequest: this.#byRequest && Object.fromEntries(this.#byRequest),
    };
  }

  #key(name: string): KeyAccount {
    return this.#keys.get(name)!;
  }

  #takePlace(call: CountedCall, nowMs: number): KeyAccount {
    const key = this.#key(call.keyName);
    key.requests.add(nowMs, 1);
    key.tokens.add(nowMs, call.windowTokens);
    this.#model(call.modelId).calls += 1;
    return key;
  }

  #model(id: string): ModelTruth {
    let model = this.#models.get(id);
    if (!model) this.#models.set(id, (model = { calls: 0, billed: 0 }));
    return model;
  }
}

const summed = ['answered', 'billed', 'inputTokens', 'outputTokens', 'costNanoUsd', 'rejected429', 'inFlight'] as const;

function book(sums: Sums, { costNanoUsd }: CountedCall): void {
  sums.billed += 1;
  sums.costNanoUsd += costNanoUsd;
}

function count(counts: Record<string, number>, name: string | number, times = 1): void {
  counts[name] = (counts[name] ?? 0) + times;
}

function mapValues<From, To>(from: Map<string, From>, to: (value: From, name: string) => To): Record<string, To> {
  return Object.fromEntries([...from].map(([name, value]) => [name, to(value, name)]));
}
