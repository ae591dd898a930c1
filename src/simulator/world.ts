/**
 * The state of one running simulator, and its clock. Time never goes backwards here, whatever clock is given, because
 * the windows rely on it. Events of the scenario are applied by `catchUp`, before each request is looked at.
 */
import { messageOf } from '../errors.ts';
import { Account } from './account.ts';
import { Approvals } from './approvals.ts';
import { Catalogue } from './catalogue.ts';
import { applyChange } from './control.ts';
import { FaultScript } from './faults.ts';
import { emptyDay, Keyring, startDay, type Org } from './keyring.ts';
import type { Latency } from './latency.ts';
import type { Scenario, ScenarioEvent } from './scenario.ts';
import { createRandom, hash53, type Random } from './seeded.ts';
import { Timers } from './timers.ts';

export class World {
  readonly scenario: Scenario;
  readonly keyring: Keyring;
  readonly catalogue: Catalogue;
  readonly faults: FaultScript;
  readonly account: Account;
  readonly approvals: Approvals;
  readonly timers = new Timers();
  /** For latencies: one draw per call, in order of arrival. */
  readonly random: Random;
  latencyMs: Latency;
  readonly #clock: () => number;
  #latestMs = Number.NEGATIVE_INFINITY;
  readonly #startedAtMs: number;
  #pendingEvents: ScenarioEvent[];
  readonly #idPrefix: string;
  #ids = 0;

  constructor(scenario: Scenario, clock: () => number) {
    const { keys, teams, orgs, windowMs, usageLogSize, trackRequests, seed } = scenario;
    this.scenario = scenario;
    this.keyring = new Keyring({ keys, teams, orgs, windowMs, usageLogSize });
    this.catalogue = new Catalogue(scenario.models);
    this.faults = new FaultScript(scenario.faults, seed);
    this.account = new Account({
      keys: this.keyring.keys(),
      teams: this.keyring.teams(),
      orgs: this.keyring.orgs(),
      windowMs,
      trackRequests,
    });
    this.approvals = new Approvals(this);
    this.random = createRandom(seed);
    this.latencyMs = scenario.latencyMs;
    this.#clock = clock;
    this.#startedAtMs = this.now();
    this.#pendingEvents = [...scenario.events];
    this.#idPrefix = hash53(`${seed}:${this.#startedAtMs}`).toString(36);
  }

  /** Unix milliseconds, with a fraction. */
  now(): number {
    return (this.#latestMs = Math.max(this.#latestMs, this.#clock()));
  }

  /** Where budgets are daily: empties the organisation's purse if its day is over. */
  startDay(org: Org): void {
    if (this.scenario.dialect.dailyBudgets && startDay(org, this.now())) this.#dayStarted(org);
  }

  /** As if it were midnight. */
  startDayNow(org: Org): void {
    emptyDay(org);
    this.#dayStarted(org);
  }

  #dayStarted({ name }: Org): void {
    this.account.caps.lifted('org', name);
    this.account.caps.lifted('plan', name);
  }

  /** Unique for this simulator. */
  nextId(): string {
    return `${this.#idPrefix}-${(this.#ids += 1).toString(36)}`;
  }

  /** Applies the events that are due, in the order of the scenario. One that fails is told in the truth. */
  catchUp(): void {
    if (this.#pendingEvents.length === 0) return;
    const elapsedMs = this.now() - this.#startedAtMs;
    const isDue = ({ afterCalls = 0, atMs = 0 }: ScenarioEvent): boolean =>
      this.account.calls >= afterCalls && elapsedMs >= atMs;
    const due = this.#pendingEvents.filter(isDue);
    if (due.length === 0) return;
    this.#pendingEvents = this.#pendingEvents.filter((event) => !due.includes(event));
    for (const event of due) {
      try {
        applyChange(this, event.do);
        this.account.events.applied += 1;
      } catch (error) {
        this.account.events.failed.push(`${event.do.change}: ${messageOf(error)}`);
      }
    }
  }
}
