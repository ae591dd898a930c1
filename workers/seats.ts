/**
 * Seats: at most so many calls are under way in this process at once. A line takes its seat when it asks for a slot and
 * leaves it when its call has ended; a line that only waits has none, so that a batch whose keys are full keeps no other
 * batch from sending.
 */

export type Seats = {
  free: () => number;
  take: () => void;
  leave: () => void;
  /** `listener` is called whenever a seat has come free. */
  onFree: (listener: () => void) => void;
};

export function createSeats(count: number): Seats {
  let free = count;
  let tell: () => void = () => {};
  return {
    free: () => free,
    take() {
      free -= 1;
    },
    leave() {
      free += 1;
      tell();
    },
    onFree(listener) {
      tell = listener;
    },
  };
}
