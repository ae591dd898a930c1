/**
 * Lanes: requests that wait for the same capacity (same batch, same model) queue up in order, and only the front of the
 * queue asks the limiter. When it is told to wait, the whole lane waits; so a thousand waiting lines cost one question
 * now and then, not a thousand. Whatever may free capacity sooner than the time named (`poke`) opens the lane at once.
 */
import type { Acquire, AcquireReply, AcquireRequest } from '../src/keys/limiter.ts';

/** `outdated`: the request waited so long, or the keys changed meanwhile, that its candidates must be found anew. */
export type LaneReply = AcquireReply | { tag: 'outdated' };

export type Lanes = {
  /** The limiter's answer, once it is something else than "wait a little". A `wait` comes back only when it is long. */
  take: (lane: string, request: AcquireRequest) => Promise<LaneReply>;
  /** A call ended: capacity that does not depend on time may be free. */
  poke: () => void;
  /** The keys have changed: everyone who waits is sent back for new candidates, with `outdated`. */
  refresh: () => void;
  /** Sends everyone who waits away with `halted`. */
  stop: () => void;
};

/** How many of a lane ask at once. More would ask in vain, fewer would take longer to fill a free window. */
const asksAtOnce = 32;

type Waiting = {
  request: AcquireRequest;
  since: number;
  /** How often the keys had changed when its candidates were found. */
  era: number;
  resolve: (reply: LaneReply) => void;
  reject: (error: unknown) => void;
};
type Lane = { waiting: Waiting[]; busy: boolean; timer: NodeJS.Timeout | null; pokable: boolean };

export type LaneRules = {
  /** A longer wait is handed back, so that the job does not sit in this process all that time. */
  longestWaitMs: number;
  /** Candidates are not asked for when they were found longer ago: models move behind their aliases. */
  outdatedAfterMs: number;
};

export function createLanes(acquire: Acquire, { longestWaitMs, outdatedAfterMs }: LaneRules): Lanes {
  const lanes = new Map<string, Lane>();
  let stopped = false;
  let era = 0;

  async function pump(name: string, lane: Lane): Promise<void> {
    if (lane.busy || lane.timer) return;
    lane.busy = true;
    while (lane.waiting.length > 0 && !lane.timer) {
      const front = lane.waiting.splice(0, asksAtOnce).filter(isCurrent);
      const replies = await Promise.allSettled(front.map(({ request }) => acquire(request)));
      const again: Waiting[] = [];
      let waitMs = 0;
      for (const [index, waiting] of front.entries()) {
        const reply = replies[index] as PromiseSettledResult<AcquireReply>;
        if (reply.status === 'rejected') waiting.reject(reply.reason);
        else if (reply.value.tag !== 'wait' || reply.value.waitMs > longestWaitMs) waiting.resolve(reply.value);
        else {
          again.push(waiting);
          // The front decides: what is behind it must not overtake a request that waits for more room.
          if (waitMs === 0) {
            waitMs = reply.value.waitMs;
            lane.pokable = mayEndSooner(waiting.request, reply.value.why);
          }
        }
      }
      lane.waiting.unshift(...again);
      if (stopped) drain(lane);
      else if (waitMs > 0) lane.timer = setTimeout(() => open(name, lane), waitMs);
    }
    lane.busy = false;
    if (lane.waiting.length === 0 && !lane.timer) lanes.delete(name);
  }

  /** An answer gives back the tokens that were estimated and not used. What the clock alone frees, it does not. */
  function mayEndSooner({ candidates }: AcquireRequest, why: string): boolean {
    if (why !== 'rate') return why !== 'cooling';
    return candidates.some(({ key }) => typeof key.tpm === 'number' && key.tpmCounts === 'used');
  }

  function isCurrent({ since, era: foundIn, resolve }: Waiting): boolean {
    if (foundIn === era && performance.now() - since < outdatedAfterMs) return true;
    resolve({ tag: 'outdated' });
    return false;
  }

  function open(name: string, lane: Lane): void {
    if (lane.timer) clearTimeout(lane.timer);
    lane.timer = null;
    void pump(name, lane);
  }

  function drain(lane: Lane): void {
    if (lane.timer) clearTimeout(lane.timer);
    lane.timer = null;
    for (const { resolve } of lane.waiting.splice(0)) resolve({ tag: 'halted', status: 'stopping' });
  }

  return {
    take(name, request) {
      if (stopped) return Promise.resolve({ tag: 'halted', status: 'stopping' });
      let lane = lanes.get(name);
      if (!lane) lanes.set(name, (lane = { waiting: [], busy: false, timer: null, pokable: false }));
      const { waiting } = lane;
      return new Promise((resolve, reject) => {
        waiting.push({ request, since: performance.now(), era, resolve, reject });
        void pump(name, lane);
      });
    },
    poke() {
      for (const [name, lane] of lanes) if (lane.timer && lane.pokable) open(name, lane);
    },
    refresh() {
      era += 1;
      for (const [name, lane] of lanes) if (lane.timer) open(name, lane);
    },
    stop() {
      stopped = true;
      for (const lane of lanes.values()) drain(lane);
    },
  };
}
