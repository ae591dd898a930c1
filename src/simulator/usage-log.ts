/** What a key's usage listing shows: its last calls, newest first. Bounded: the oldest entry makes room. */

export type UsageEntry = {
  id: string;
  /** The concrete model, never the alias. */
  model: string;
  promptTokens: number;
  completionTokens: number;
  costNanoUsd: number;
  latencyMs: number;
  statusCode: number;
  createdAtMs: number;
};

export class UsageLog {
  readonly #size: number;
  readonly #ring: UsageEntry[] = [];
  #next = 0;

  constructor(size: number) {
    this.#size = size;
  }

  add(entry: UsageEntry): void {
    this.#ring[this.#next] = entry;
    this.#next = (this.#next + 1) % this.#size;
  }

  /** At most `limit` entries made at `fromMs` or later. */
  newest(limit: number, fromMs: number): UsageEntry[] {
    const entries: UsageEntry[] = [];
    for (let back = 1; back <= this.#ring.length && entries.length < limit; back += 1) {
      const entry = this.#ring[(this.#next - back + this.#size) % this.#size];
      if (!entry || entry.createdAtMs < fromMs) break;
      entries.push(entry);
    }
    return entries;
  }
}
