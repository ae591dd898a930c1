/**
 * A strict sliding window: the sum of what was added in the trailing `windowMs`, exact to the clock's resolution. An
 * entry of time t counts while now − t < windowMs. Amortised O(1); memory is bounded by what the limit lets in.
 */

/** Dropped entries are kept until there are this many, so that the arrays are moved rarely. */
const compactAt = 1024;

export class SlidingWindow {
  readonly windowMs: number;
  #times: number[] = [];
  #amounts: number[] = [];
  #head = 0;
  #sum = 0;

  constructor(windowMs: number) {
    this.windowMs = windowMs;
  }

  /** Whether this much more keeps the window within the limit (null: no limit). Adds nothing. */
  fits(nowMs: number, amount: number, limit: number | null): boolean {
    return limit === null || this.used(nowMs) + amount <= limit;
  }

  /** Times must not go backwards; the simulator's clock sees to that. */
  add(nowMs: number, amount: number): void {
    this.#drop(nowMs);
    this.#times.push(nowMs);
    this.#amounts.push(amount);
    this.#sum += amount;
  }

  used(nowMs: number): number {
    this.#drop(nowMs);
    return this.#sum;
  }

  #drop(nowMs: number): void {
    while (this.#head < this.#times.length && nowMs - this.#times[this.#head]! >= this.windowMs) {
      this.#sum -= this.#amounts[this.#head]!;
      this.#head += 1;
    }
    if (this.#head >= compactAt && this.#head * 2 >= this.#times.length) {
      this.#times = this.#times.slice(this.#head);
      this.#amounts = this.#amounts.slice(this.#head);
      this.#head = 0;
    }
  }
}
