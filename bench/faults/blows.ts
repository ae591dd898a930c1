/**
 * What one round does, drawn from its seed alone: the batch, the keys and the blows. The same seed gives the same
 * script; what processes make of it differs from run to run, as with real crashes.
 */
import { createRandom, type Random } from '../../src/simulator/seeded.ts';

/** Kind → how often it is drawn, in proportion. Those that take long come rarely. */
const weights = {
  /** SIGKILL, and another one is started. */
  kill_worker: 4,
  /** SIGKILL of the producer and collector, and the same command again. */
  kill_run: 4,
  /** SIGKILL, and started again on its append-only file. */
  kill_redis: 3,
  /** SIGSTOP and SIGCONT within a window or two. */
  stop_worker: 2,
  /** For longer than the roster waits: it is taken for dead, and comes back. */
  stop_worker_long: 0.7,
  stop_run: 1,
  /** For longer than the lease: the same command again takes the batch over, then the first wakes up. */
  stop_run_long: 0.5,
  /** Connections to one provider are reset, new ones too. */
  cut_network: 2,
  /** What is sent to one provider and what it answers vanishes. */
  drop_network: 1,
  storm_429: 1,
  storm_5xx: 2,
  storm_hang: 1,
  revoke_key: 1,
  exhaust_key: 1,
  /** Where there is no other organisation the batch stops with exit code 3; the budget is raised, the same command again. */
  exhaust_org: 2,
  /** Of the output directory; space is made when the run has stopped for it. */
  fill_disk: 1,
  /** The wall clock of one worker, forwards or backwards. */
  step_clock: 2,
} as const;
export type BlowKind = keyof typeof weights;
export const blowKinds = Object.keys(weights) as BlowKind[];

export type Blow = {
  kind: BlowKind;
  /** Struck once this share of the lines' calls has reached the providers … */
  afterShare: number;
  /** … and this time has passed. */
  delayMs: number;
  /** Until it is mended, where the bench does that. */
  lastsMs: number;
  /** In [0, 1): chooses the worker, key or provider, and by how much. */
  draw: number;
};

export type RoundScript = {
  seed: number;
  lineCount: number;
  /** Per provider, per key: requests per window. */
  rpms: number[][];
  blows: Blow[];
};

/** Slow ones: at most one a round. */
const longKinds: readonly BlowKind[] = ['stop_worker_long', 'stop_run_long'];
const lasting: Partial<Record<BlowKind, [fromMs: number, toMs: number]>> = {
  kill_redis: [50, 1200],
  stop_worker: [300, 4000],
  stop_worker_long: [11_000, 13_500],
  stop_run: [300, 4000],
  stop_run_long: [15_500, 17_000],
  cut_network: [200, 1800],
  drop_network: [200, 1800],
  storm_429: [300, 1500],
  storm_5xx: [300, 2000],
  storm_hang: [300, 1200],
};

/** `only`: kinds to draw from, for a look at one of them. */
export function drawRound(seed: number, only: readonly BlowKind[] = blowKinds): RoundScript {
  const random = createRandom(seed);
  const between = (from: number, to: number) => from + random() * (to - from);
  const lineCount = Math.round(between(150, 500));
  const providers = random() < 0.5 ? 1 : 2;
  // About two windows: long enough for a batch to be struck in, short enough for many rounds.
  const perWindow = lineCount / between(1.4, 2.4);
  const keys = 4 / providers;
  const rpms = Array.from({ length: providers }, () =>
    Array.from({ length: keys }, () => Math.max(5, Math.round((perWindow / 4) * between(0.5, 1.5)))),
  );
  const blows: Blow[] = [];
  const count = 2 + Math.floor(random() * 3);
  while (blows.length < count) {
    const hasLong = blows.some(({ kind }) => longKinds.includes(kind));
    const kind = drawKind(random, hasLong ? only.filter((one) => !longKinds.includes(one)) : only);
    if (kind === null) break;
    const [fromMs, toMs] = lasting[kind] ?? [0, 0];
    blows.push({
      kind,
      afterShare: random() * 0.85,
      delayMs: Math.round(random() * 600),
      lastsMs: Math.round(between(fromMs, toMs)),
      draw: random(),
    });
  }
  return { seed, lineCount, rpms, blows: blows.toSorted((a, b) => a.afterShare - b.afterShare) };
}

function drawKind(random: Random, kinds: readonly BlowKind[]): BlowKind | null {
  let left = random() * kinds.reduce((sum, kind) => sum + weights[kind], 0);
  return kinds.find((kind) => (left -= weights[kind]) < 0) ?? null;
}
