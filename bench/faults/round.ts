/**
 * One round: the world is set up, the batch runs, the blows fall, the person types the same command again whenever it
 * has stopped, and when the batch is over everything is stopped and audited.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { windowShape } from '../../src/keys/window.ts';
import { audit, type Audit } from './audit.ts';
import type { Blow, BlowKind, RoundScript } from './blows.ts';
import { countAfterCap, follow, type CapPeriod } from './org-cap.ts';
import { createPlace, windowMs, type Place, type Provider } from './place.ts';
import { freeDisk, mendAll, strike, targetOf } from './strike.ts';
import type { SeenCall } from './witness.ts';

export type StruckBlow = {
  kind: BlowKind;
  /** Until a call that arrived after it was answered; null: none was needed. */
  recoverMs: number | null;
};

export type RoundResult = Judged & {
  seed: number;
  lineCount: number;
  struck: StruckBlow[];
  callsAfterOrgCap: number;
  /** The longest time between one answered call and the next: what a blow costs a batch at the worst. */
  standstillMs: number;
  /** The longest time that the bench itself, and the providers in it, got no processor: what arrived then was late. */
  benchStallMs: number;
  /** Exit codes of the runs, in order. */
  exits: (number | string)[];
  /** What else went wrong; empty in a good round. */
  problems: string[];
  tookMs: number;
  /** Kept when something was wrong. */
  dir: string | null;
};

/**
 * Half of a window's guard, which is what it leaves to the network (src/keys/lateness.ts). Who stamps arrivals later than
 * that cannot tell whether a window was kept.
 */
const mostStallMs = windowShape(windowMs).guardMs / 2;

type Judged = Audit & {
  /** Calls over a limit by the stamps of a bench that stood still: no count of the limiter's, but shown. */
  overLimitUnjudged: number;
  isUnjudged: boolean;
};

/** All that was counted stands, but what depends on when a call arrived, where that is not known. */
export function judge(audited: Audit, benchStallMs: number): Judged {
  const { overLimit } = audited;
  if (benchStallMs <= mostStallMs) return { ...audited, overLimitUnjudged: 0, isUnjudged: false };
  return { ...audited, overLimit: 0, overLimitUnjudged: overLimit, isUnjudged: true };
}

const roundWithinMs = 300_000;
/** A blow is not waited for longer than this when nothing moves (another one is in its way). */
const stillMs = 6000;
const stopWithinMs = 60_000;
const mostRuns = 30;

export function isClean(result: RoundResult): boolean {
  const { lost, doubled, torn, mixedUp, overLimit, callsAfterOrgCap, ledgerMissing, ledgerDoubled } = result;
  const counts = [lost, doubled, torn, mixedUp, overLimit, callsAfterOrgCap, ledgerMissing, ledgerDoubled];
  return counts.every((count) => count === 0) && result.moneyDiffNanoUsd === 0 && result.problems.length === 0;
}

export async function runRound(script: RoundScript, options: { keep: boolean }): Promise<RoundResult> {
  const startedAtMs = performance.now();
  const place = await createPlace(script);
  const round = new Round(place, script);
  let isKept = true;
  try {
    await round.play();
    const { sentAtMs, ...audited } = await audit(place, script.lineCount);
    const report = round.report(sentAtMs);
    const result = {
      ...judge(audited, report.benchStallMs),
      ...report,
      tookMs: Math.round(performance.now() - startedAtMs),
      dir: null,
    };
    isKept = options.keep || !isClean(result);
    if (isKept) writeFileSync(path.join(place.dir, 'round.json'), round.evidence(result));
    return { ...result, dir: isKept ? place.dir : null };
  } finally {
    round.close();
    await place.close({ keepFiles: isKept });
  }
}

class Round {
  readonly #place: Place;
  readonly #script: RoundScript;
  readonly #struck: { blow: Blow; atMs: number }[] = [];
  readonly #caps: CapPeriod[] = [];
  readonly #brokeKeys = new Set<string>();
  readonly #exits: (number | string)[] = [];
  readonly #problems: string[] = [];
  readonly #over = new AbortController();
  readonly #redis: Redis;
  readonly #stalls = monitorEventLoopDelay({ resolution: 10 });

  constructor(place: Place, script: RoundScript) {
    this.#redis = new Redis(place.redis.url.replace('unix://', ''), { maxRetriesPerRequest: null });
    // It is killed now and then.
    this.#redis.on('error', () => {});
    this.#place = place;
    this.#script = script;
  }

  async play(): Promise<void> {
    this.#stalls.enable();
    const blows = this.#script.blows.map((blow) => this.#strikeInTime(blow));
    const late = sleep(roundWithinMs, 'late', { ref: false, signal: this.#over.signal }).catch(() => 'in time');
    const first = await Promise.race([this.#person(), late]);
    this.#over.abort();
    if (first === 'late') this.#problems.push(`not finished within ${roundWithinMs / 1000} s`);
    await Promise.all(blows);
    await this.#settleDown();
  }

  close(): void {
    this.#stalls.disable();
    this.#redis.disconnect();
  }

  report(sentAtMs: (call: SeenCall) => number) {
    const { calls } = this.#place.witness;
    return {
      seed: this.#script.seed,
      lineCount: this.#script.lineCount,
      struck: this.#struck.map(({ blow, atMs }) => ({ kind: blow.kind, recoverMs: this.#recoverMs(atMs) })),
      standstillMs: this.#standstillMs(),
      benchStallMs: Math.round(this.#stalls.max / 1e6),
      callsAfterOrgCap: this.#caps.reduce((sum, cap) => sum + countAfterCap(calls, cap, sentAtMs, this.#brokeKeys), 0),
      exits: this.#exits,
      problems: this.#problems,
    };
  }

  /** For whoever looks into it: what was struck when, and what reached the providers. */
  evidence(result: object): string {
    const { calls } = this.#place.witness;
    return JSON.stringify({ result, script: this.#script, struck: this.#struck, caps: this.#caps, calls }, null, 1);
  }

  #recoverMs(atMs: number): number | null {
    const answers = this.#place.witness.calls
      .filter((call) => call.arrivedAtMs > atMs && call.status === 200 && call.isWhole)
      .map(({ endedAtMs }) => (endedAtMs ?? Infinity) - atMs);
    return answers.length === 0 ? null : Math.round(Math.min(...answers));
  }

  #standstillMs(): number {
    const answeredAtMs = this.#place.witness.calls
      .flatMap(({ status, isWhole, endedAtMs }) => (status === 200 && isWhole && endedAtMs !== null ? [endedAtMs] : []))
      .toSorted((a, b) => a - b);
    return Math.round(Math.max(0, ...answeredAtMs.map((at, index) => at - (answeredAtMs[index - 1] ?? at))));
  }

  async #strikeInTime(blow: Blow): Promise<void> {
    const { signal } = this.#over;
    const { calls } = this.#place.witness;
    const wanted = blow.afterShare * this.#script.lineCount;
    let [seen, movedAtMs] = [0, performance.now()];
    while (calls.length < wanted && performance.now() - movedAtMs < stillMs) {
      // Processes that have only begun are not standing still.
      if (calls.length > seen || seen === 0) [seen, movedAtMs] = [calls.length, performance.now()];
      if (signal.aborted) return;
      await sleep(5);
    }
    await sleep(blow.delayMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    const atMs = performance.now();
    this.#struck.push({ blow, atMs });
    const { provider, key } = targetOf(this.#place, blow.draw);
    if (blow.kind === 'exhaust_key') this.#brokeKeys.add(key);
    if (blow.kind === 'exhaust_org') this.#beginCap(provider, atMs);
    try {
      await strike(this.#place, blow, (problem) => this.#problems.push(problem));
    } catch (error) {
      this.#problems.push(`${blow.kind}: ${String(error)}`);
    }
  }

  #beginCap({ name, simulator }: Provider, fromMs: number): void {
    const cap: CapPeriod = { provider: name, fromMs, knownAtMs: null, untilMs: null };
    this.#caps.push(cap);
    const tokens = simulator.keys.map(({ token }) => token);
    // It ends with its connection, at the latest.
    follow(this.#redis, tokens, cap, this.#over.signal).catch(() => {});
  }

  #mendAll(): void {
    mendAll(this.#place);
    for (const cap of this.#caps) cap.untilMs ??= performance.now();
  }

  /** Waits for the command to end and types it again, until the batch is over. */
  async #person(): Promise<void> {
    for (let runs = 1; runs <= mostRuns;) {
      const run = this.#place.run();
      const code = await run.ended;
      if (this.#over.signal.aborted) return;
      this.#exits.push(code);
      // Taken over by a second one, which goes on.
      if (this.#place.run() !== run) continue;
      if (code === 0 || code === 1) return;
      // What stopped it is put right; a crash (a signal's name) needs nothing.
      if (code === 3 || code === 4) this.#mendAll();
      if (code === 5) freeDisk(this.#place);
      if (code === 2) await sleep(500);
      this.#place.startRun();
      runs += 1;
    }
    this.#problems.push(`the command had to be typed ${mostRuns} times`);
  }

  /** Workers end in order, what is still in Redis for the ledger is drained, the providers tell all. */
  async #settleDown(): Promise<void> {
    const place = this.#place;
    for (const [index, worker] of place.workers.entries()) {
      if (!worker.isRunning()) this.#problems.push(`worker ${index} ended by itself`);
      worker.signal('SIGCONT');
    }
    const stopped = await Promise.all(place.workers.map((worker) => worker.stop(stopWithinMs)));
    if (stopped.includes(false)) this.#problems.push(`a worker did not stop within ${stopWithinMs / 1000} s`);
    this.#mendAll();
    if (place.run().isRunning()) return;
    const left = await this.#leftInRedis();
    if (left.intents > 0) this.#problems.push(`${left.intents} calls are in flight for ever`);
    if (left.entries === 0) return;
    // The ledger's last rows are drained by whoever runs next.
    const code = await place.startRun().ended;
    if (code !== 0 && code !== 1) this.#problems.push(`the finished batch's command ended with ${code}`);
  }

  async #leftInRedis(): Promise<{ entries: number; intents: number }> {
    const redis = this.#redis;
    const [intents, entries] = await Promise.all([
      sumOver(redis, '*:inflight', 'hash', (name) => redis.hlen(name)),
      sumOver(redis, '*:ledger', 'stream', (name) => redis.xlen(name)),
    ]);
    return { intents, entries };
  }
}

/** By their endings: whatever batch or namespace they belong to. */
async function sumOver(
  client: Redis,
  pattern: string,
  type: string,
  sizeOf: (name: string) => Promise<number>,
): Promise<number> {
  let sum = 0;
  for (const name of await client.keys(pattern)) if ((await client.type(name)) === type) sum += await sizeOf(name);
  return sum;
}
