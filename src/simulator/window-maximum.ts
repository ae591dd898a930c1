/**
 * The largest sum ever seen in a trailing window. Kept apart from window.ts on purpose: it checks the limiter, so it
 * must not share the limiter's mistakes.
 */

type Entry = { atMs: number; amount: number };

export class WindowMaximum {
  max = 0;
  readonly #windowMs: number;
  /** Oldest first; those before `#from` have left the window. */
  #entries: Entry[] = [];
  #from = 0;
  #sum = 0;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  add(atMs: number, amount: number): void {
    this.#entries.push({ atMs, amount });
    this.#sum += amount;
    for (;;) {
      const oldest = this.#entries[this.#from]!;
      if (atMs - oldest.atMs < this.#windowMs) break;
      this.#sum -= oldest.amount;
      this.#from += 1;
    }
    if (this.#sum > this.max) this.max = this.#sum;
    if (this.#from > 4096 && this.#from * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#from);
      this.#from = 0;
    }
  }
}
