/** How long an answer takes: fixed, evenly spread, or lognormal as real services are. Times in milliseconds. */
import { z } from 'zod';
import type { Random } from './seeded.ts';

const ms = z.number().nonnegative().max(3_600_000);

const forms = 'expected milliseconds: a number, {"min", "max"} with min ≤ max, or {"p50", "p99"} with 0 < p50 ≤ p99';

export const latencySchema = z.union(
  [
    ms,
    z.strictObject({ min: ms, max: ms }).refine(({ min, max }) => min <= max, forms),
    z.strictObject({ p50: ms.positive(), p99: ms.positive() }).refine(({ p50, p99 }) => p50 <= p99, forms),
  ],
  forms,
);
export type Latency = z.infer<typeof latencySchema>;

/** The 99th percentile of the standard normal distribution: how many deviations p99 lies above the median. */
const z99 = 2.326348;

export function sampleLatencyMs(latency: Latency, random: Random): number {
  if (typeof latency === 'number') return latency;
  if ('min' in latency) return latency.min + random() * (latency.max - latency.min);
  // 1 - random() lies in (0, 1]: the logarithm stays finite.
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return latency.p50 * Math.exp((Math.log(latency.p99 / latency.p50) / z99) * normal);
}
