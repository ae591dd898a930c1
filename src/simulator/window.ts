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

  /** When this much fits, if nothing is added until then; null: never, it is more than the limit. */
  fitsAtMs(nowMs: number, amount: number, limit: number | null): number | null {
    if (limit === null) return nowMs;
    if (amount > limit) return null;
    let used = this.used(nowMs);
    let atMs = nowMs;
    for (let index = this.#head; used + amount > limit; index += 1) {
      used -= this.#amounts[index]!;
      atMs = this.#times[index]! + this.windowMs;
    }
    return atMs;
  }

  /** When the last entry has left; now, if there is none. */
  emptyAtMs(nowMs: number): number {
    this.#drop(nowMs);
    return this.#head === this.#times.length ? nowMs : this.#times.at(-1)! + this.windowMs;
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
