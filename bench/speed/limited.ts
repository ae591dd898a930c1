/**
 * A process: the simulator with strict windows. Beside its own truth it notes when each key's calls came, and tells
 * how soon after a window's place came free it was taken again.
 *
 * With a limit of R per window W, call i + R of a key cannot be let in sooner than W after call i. Over all pairs, W
 * through the time that really passed is the share of the limit that was used while there was work.
 */
import { subscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import { createSimulator } from '../../src/simulator/server.ts';

export type LimitedTask = { windowMs: number; keys: { name: string; rpm: number }[] };
export type LimitedReport = {
  /** 0 to 1. */
  use: number;
  useByKey: Record<string, number>;
  mostInWindow: Record<string, number>;
  rejected429: number;
  calls: number;
  firstToLastMs: number;
};

const { windowMs, keys } = JSON.parse(process.argv[2] ?? '') as LimitedTask;
const simulator = await createSimulator({ scenario: { windowMs, keys, latencyMs: { min: 50, max: 400 } } });
const nameOf = new Map(simulator.keys.map(({ name, token }) => [`Bearer ${token}`, name]));
const arrivals = new Map<string, number[]>(keys.map(({ name }) => [name, []]));

subscribe('http.server.request.start', (message) => {
  const { request } = message as { request: IncomingMessage };
  const name = nameOf.get(request.headers.authorization ?? '');
  if (request.method === 'POST' && name !== undefined) arrivals.get(name)?.push(performance.now());
});

process.on('disconnect', () => process.exit(0));
process.on('message', () => process.send?.({ type: 'report', ...report() }));
process.send?.({
  type: 'listening',
  baseUrl: simulator.baseUrl,
  secrets: simulator.keys.map(({ name, token }) => ({ name, secret: token })),
});

function report(): LimitedReport {
  let waitedMs = 0;
  let pairs = 0;
  const useByKey: Record<string, number> = {};
  for (const { name, rpm } of keys) {
    const times = arrivals.get(name) ?? [];
    const gaps = times.slice(rpm).map((time, index) => time - times[index]!);
    const sumMs = gaps.reduce((sum, gap) => sum + gap, 0);
    useByKey[name] = (gaps.length * windowMs) / sumMs;
    waitedMs += sumMs;
    pairs += gaps.length;
  }
  const truth = simulator.truth();
  const all = [...arrivals.values()].flat();
  const [first, last] = all.reduce(([low, high], at) => [Math.min(low, at), Math.max(high, at)], [Infinity, 0]);
  return {
    use: (pairs * windowMs) / waitedMs,
    useByKey,
    mostInWindow: Object.fromEntries(Object.entries(truth.keys).map(([name, key]) => [name, key.maxInWindow])),
    rejected429: truth.totals.rejected429,
    calls: all.length,
    firstToLastMs: last - first,
  };
}
