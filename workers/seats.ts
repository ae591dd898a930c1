/** Seats: at most so many lines are under way in this process at once; the others wait in order. */

export type Seats = { sit: <Result>(work: () => Promise<Result>) => Promise<Result> };

export function createSeats(count: number): Seats {
  let free = count;
  const waiting: (() => void)[] = [];
  return {
    async sit(work) {
      if (free > 0) free -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        return await work();
      } finally {
        const next = waiting.shift();
        // The seat goes straight to the next one; it is never free in between.
        if (next) next();
        else free += 1;
      }
    },
  };
}
