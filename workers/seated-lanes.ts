/**
 * The lanes as one line sees them: with a slot it gets a seat, which it leaves when its call has ended or its slot turned
 * out to be void. Whatever it waits for after that, it waits without one: of lines that all wait for one of them to try
 * a provider again, the one that may try must find a seat.
 */
import type { LaneReply, Lanes } from './lanes.ts';
import type { AcquireRequest } from '../src/keys/limiter.ts';
import type { Seats } from './seats.ts';

export type SeatedLanes = {
  /** As `Lanes.take`, at the line's own rank. */
  take: (lane: string, request: AcquireRequest) => Promise<LaneReply>;
  /** The call has ended, or will not be: its seat is left, and its capacity offered to the others. */
  poke: () => void;
  /** The line has ended, however. */
  leave: () => void;
};

export function takeSeats(lanes: Lanes, seats: Seats, rank: number): SeatedLanes {
  let isSeated = false;
  const leave = () => {
    if (isSeated) seats.leave();
    isSeated = false;
  };
  return {
    leave,
    async take(name, request) {
      leave();
      const reply = await lanes.take(name, request, rank);
      isSeated = reply.tag === 'slot';
      return reply;
    },
    poke() {
      leave();
      lanes.poke();
    },
  };
}
