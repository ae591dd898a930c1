/**
 * Lanes: requests that wait for the same capacity (same batch, same model) queue up in order, and only the front of the
 * queue asks the limiter. When it is told to wait, the whole lane waits; so a thousand waiting lines cost one question
 * now and then, not a thousand. Whatever may free capacity sooner than the time named (`poke`) opens the lane at once.
 *
 * Lanes share what is free: in each round of asking they take turns, one line of each, so that a batch of forty lines
 * beside one of a million sends every other call. Lanes that wait for the same model's windows wake together, or the
 * one whose timer is first would take all that comes free. A batch of high priority is asked for alone, one of low
 * priority only when no other waits for that model.
 */
import type { Acquire, AcquireReply, AcquireRequest } from '../src/keys/limiter.ts';
import {
  asNow,
  createLane,
  enqueue,
  isDeserted,
  mayEndSooner,
  openLane,
  sharesItsWait,
  takeFront,
  type Lane,
  type Waiting,
} from './lane.ts';
import type { Seats } from './seats.ts';

/** `outdated`: the request waited so long, or the keys changed meanwhile, that its candidates must be found anew. */
export type LaneReply = AcquireReply | { tag: 'outdated' };

export type Lanes = {
  /**
   * The limiter's answer, once it is something else than "wait a little". A `wait` comes back only when it is long.
   * With a slot comes a seat, which the line leaves when its call has ended.
   */
  take: (lane: string, request: AcquireRequest, rank?: number) => Promise<LaneReply>;
  /** A call ended: capacity that does not depend on time may be free. */
  poke: () => void;
  /** The keys have changed: everyone who waits is sent back for new candidates, with `outdated`. */
  refresh: () => void;
  /** Batches of which lines wait, and the highest rank among those that wait for a model. */
  waiting: () => { batchIds: Set<string>; ranks: Map<string, number> };
  /** Other processes have lines of these ranks waiting, model by model: those below do not ask here. */
  giveWay: (ranks: ReadonlyMap<string, number>) => void;
  /** The batch does not send now: its lines are sent away with `halted`. */
  halt: (batchId: string, status: string) => void;
  /** Sends everyone who waits away with `halted`. */
  stop: () => void;
};

/** How many ask at once. More would ask in vain, fewer would take longer to fill a free window. */
const asksAtOnce = 32;
/** The rank of lines that name none. */
const middleRank = 1;

export type LaneRules = {
  /** A longer wait is handed back, so that the job does not sit in this process all that time. */
  longestWaitMs: number;
  /** Candidates are not asked for when they were found longer ago: models move behind their aliases. */
  outdatedAfterMs: number;
};

export function createLanes(acquire: Acquire, seats: Seats, { longestWaitMs, outdatedAfterMs }: LaneRules): Lanes {
  const lanes = new Map<string, Lane>();
  let isStopped = false;
  let isPumping = false;
  let era = 0;
  let turn = 0;
  let outerRanks: ReadonlyMap<string, number> = new Map();

  async function pump(): Promise<void> {
    if (isPumping) return;
    isPumping = true;
    for (let round = nextRound(); round.length > 0; round = nextRound()) {
      const replies = await Promise.allSettled(round.map((waiting) => acquire(asNow(waiting))));
      takeReplies(round, replies);
    }
    isPumping = false;
  }

  /** One line of each lane in turn, as many as have seats. */
  function nextRound(): Waiting[] {
    const asking = [...lanes.values()].filter(mayAsk);
    turn += 1;
    // Another begins each time: where one slot comes free at a time, it is not always the same that gets it.
    const inTurn = asking.map((_, index) => asking[(index + turn) % asking.length] as Lane);
    const round: Waiting[] = [];
    const most = Math.min(asksAtOnce, seats.free());
    for (let isMore = true; isMore && round.length < most;) {
      isMore = false;
      for (const lane of inTurn) {
        const waiting = round.length < most ? takeFront(lane, { era, outdatedAfterMs }) : undefined;
        if (!waiting) continue;
        isMore = true;
        seats.take();
        lane.asking += 1;
        round.push(waiting);
      }
    }
    return round;
  }

  function mayAsk(lane: Lane): boolean {
    if (lane.timer || lane.waiting.length === 0) return false;
    if (lane.rank < (outerRanks.get(lane.model) ?? 0)) return false;
    for (const other of lanes.values()) {
      if (other.rank <= lane.rank || other.model !== lane.model || other.waiting.length === 0) continue;
      if (!other.timer || sharesItsWait(other)) return false;
    }
    return true;
  }

  function takeReplies(round: Waiting[], replies: PromiseSettledResult<AcquireReply>[]): void {
    const again = new Map<Lane, Waiting[]>();
    const waits = new Map<Lane, { waitMs: number; why: string; request: AcquireRequest }>();
    for (const [index, waiting] of round.entries()) {
      const { lane, request } = waiting;
      lane.asking -= 1;
      const reply = replies[index] as PromiseSettledResult<AcquireReply>;
      const isWait = reply.status === 'fulfilled' && reply.value.tag === 'wait' && reply.value.waitMs <= longestWaitMs;
      if (isWait && reply.value.tag === 'wait') {
        seats.leave();
        // The front decides: what is behind it must not overtake a request that waits for more room.
        if (!waits.has(lane)) waits.set(lane, { waitMs: reply.value.waitMs, why: reply.value.why, request });
        const group = again.get(lane);
        if (group) group.push(waiting);
        else again.set(lane, [waiting]);
        continue;
      }
      if (lane.front?.line === request.line) lane.front = null;
      if (reply.status === 'rejected') {
        seats.leave();
        waiting.reject(reply.reason);
      } else {
        if (reply.value.tag !== 'slot') seats.leave();
        waiting.resolve(reply.value);
      }
    }
    for (const [lane, group] of again) lane.waiting.unshift(...group);
    for (const [lane, { waitMs, why, request }] of waits) {
      lane.why = why;
      lane.pokable = mayEndSooner(request, why);
      if (isStopped) drain(lane);
      else lane.timer = setTimeout(() => wake(lane), waitMs);
    }
    for (const { lane } of round) forget(lane);
  }

  /** Its time has come, and that of all who wait for the same. */
  function wake(lane: Lane): void {
    openLane(lane);
    if (sharesItsWait(lane)) {
      for (const other of lanes.values()) {
        if (other.model === lane.model && other.timer && sharesItsWait(other)) openLane(other);
      }
    }
    // With others whose timers are of the same moment.
    setImmediate(() => void pump());
  }

  function drain(lane: Lane, status = 'stopping'): void {
    openLane(lane);
    for (const { resolve } of lane.waiting.splice(0)) resolve({ tag: 'halted', status });
    forget(lane);
  }

  function forget(lane: Lane): void {
    if (isDeserted(lane)) lanes.delete(lane.name);
  }

  function laneOf(name: string, request: AcquireRequest, rank: number): Lane {
    const known = lanes.get(name);
    if (known) return known;
    const lane = createLane(name, request, rank);
    lanes.set(name, lane);
    return lane;
  }

  seats.onFree(() => void pump());
  return {
    take(name, request, rank = middleRank) {
      if (isStopped) return Promise.resolve({ tag: 'halted', status: 'stopping' });
      const lane = laneOf(name, request, rank);
      return new Promise((resolve, reject) => {
        enqueue(lane, { lane, request, since: performance.now(), era, resolve, reject });
        void pump();
      });
    },
    poke() {
      for (const lane of lanes.values()) if (lane.timer && lane.pokable) openLane(lane);
      void pump();
    },
    refresh() {
      era += 1;
      for (const lane of lanes.values()) openLane(lane);
      void pump();
    },
    waiting() {
      const batchIds = new Set<string>();
      const ranks = new Map<string, number>();
      for (const lane of lanes.values()) {
        forget(lane);
        if (lane.waiting.length === 0) continue;
        batchIds.add(lane.batchId);
        // Not those that only lack a seat here: others would stand back in vain.
        if (lane.timer && sharesItsWait(lane)) ranks.set(lane.model, Math.max(lane.rank, ranks.get(lane.model) ?? 0));
      }
      return { batchIds, ranks };
    },
    giveWay(ranks) {
      outerRanks = ranks;
      void pump();
    },
    halt(batchId, status) {
      for (const lane of [...lanes.values()].filter((one) => one.batchId === batchId)) {
        lane.front = null;
        drain(lane, status);
      }
      void pump();
    },
    stop() {
      isStopped = true;
      for (const lane of lanes.values()) {
        lane.front = null;
        drain(lane);
      }
    },
  };
}
