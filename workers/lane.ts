/** One lane: the requests of one batch for one model, in order, and what is known of the one at the front. */
import type { AcquireRequest } from '../src/keys/limiter.ts';
import type { LaneReply } from './lanes.ts';

export type Waiting = {
  lane: Lane;
  request: AcquireRequest;
  since: number;
  /** How often the keys had changed when its candidates were found. */
  era: number;
  resolve: (reply: LaneReply) => void;
  reject: (error: unknown) => void;
};

export type Lane = {
  name: string;
  batchId: string;
  model: string;
  rank: number;
  waiting: Waiting[];
  /** How many are asking now. */
  asking: number;
  /** While it waits; and what for. */
  timer: NodeJS.Timeout | null;
  why: string;
  pokable: boolean;
  /**
   * The line at the front, since when (performance.now) it has been there, and since when it is away for new candidates
   * (or for good: then it is forgotten after a while).
   */
  front: { line: number; since: number; awaySince: number | null } | null;
};

/** Finding candidates takes a request for a listing, at most. */
const longestAbsenceMs = 30_000;

/** Waits that any lane of the same model shares: what one is told, the others would be told as well. */
const sharedReasons = new Set(['rate', 'claimed', 'cooling', 'inflight', 'probe']);

export function createLane(name: string, { batchId, requestedModel: model }: AcquireRequest, rank: number): Lane {
  return { name, batchId, model, rank, waiting: [], asking: 0, timer: null, why: '', pokable: false, front: null };
}

export function enqueue(lane: Lane, waiting: Waiting): void {
  // Back from finding new candidates, it keeps its place.
  if (lane.front?.line === waiting.request.line) {
    lane.front.awaySince = null;
    lane.waiting.unshift(waiting);
  } else lane.waiting.push(waiting);
}

/** The next that is to ask; those that must find their candidates anew are sent away on the way to it. */
export function takeFront(lane: Lane, rules: { era: number; outdatedAfterMs: number }): Waiting | undefined {
  for (let next = lane.waiting.shift(); next; next = lane.waiting.shift()) {
    const { line } = next.request;
    const now = performance.now();
    if (!lane.front || isAwayForGood(lane)) lane.front = { line, since: now, awaySince: null };
    if (next.era === rules.era && now - next.since < rules.outdatedAfterMs) return next;
    if (lane.front.line === line) lane.front.awaySince = now;
    next.resolve({ tag: 'outdated' });
  }
  return undefined;
}

export function isAwayForGood({ front }: Lane): boolean {
  if (!front || front.awaySince === null) return false;
  return performance.now() - front.awaySince > longestAbsenceMs;
}

/** Only a line at the front may claim a window by its long wait: the others have waited for those before them. */
export function asNow({ lane, request }: Waiting): AcquireRequest {
  const waitingSinceMs = lane.front?.line === request.line ? lane.front.since : performance.now();
  return { ...request, waitingSinceMs };
}

/** It is told to wait for something that the others who wait for its model wait for, too. */
export function sharesItsWait({ why }: Lane): boolean {
  return sharedReasons.has(why);
}

/** An answer gives back the tokens that were estimated and not used. What the clock alone frees, it does not. */
export function mayEndSooner({ candidates }: AcquireRequest, why: string): boolean {
  if (why !== 'rate') return why !== 'cooling';
  return candidates.some(({ key }) => typeof key.tpm === 'number' && key.tpmCounts === 'used');
}

/** Nobody is in it, or will come back to it. */
export function isDeserted(lane: Lane): boolean {
  return lane.waiting.length === 0 && lane.asking === 0 && (!lane.front || isAwayForGood(lane));
}

export function openLane(lane: Lane): void {
  if (lane.timer) clearTimeout(lane.timer);
  lane.timer = null;
}
