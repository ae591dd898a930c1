/**
 * Section "memory": the same run at several sizes. Peak and end of every process: the producer (which is collector and
 * ledger, too), a worker apart, and the one process of a plain `run`; and what Redis took at most.
 */
import path from 'node:path';
import { watchUsage, type Usage } from './children.ts';
import { configure, makeDirectory, startNightshift, startUpstream, writePrompts } from './place.ts';
import { startRedis } from './redis.ts';
import { count, megabytes, ratio, round, tableOf } from './statistics.ts';

export type MemoryOptions = { sizes: number[]; concurrency: number };

type Measured = { lines: number; seconds: number; redisPeakBytes: number; processes: Record<string, Memory> };
type Memory = { peakRssBytes: number; endRssBytes: number };

const key = { name: 'bench', secret: 'sk-bench-0123456789abcdef', rpm: 100_000_000 };

export async function measureMemory(options: MemoryOptions, say: (text: string) => void) {
  say(`\nmemory: ${options.sizes.map(count).join(', ')} lines`);
  const runs: Measured[] = [];
  for (const lines of options.sizes.toSorted((a, b) => a - b)) {
    const apart = await runOnce(lines, options.concurrency, true);
    const together = await runOnce(lines, options.concurrency, false);
    const redisPeakBytes = Math.max(apart.redisPeakBytes, together.redisPeakBytes);
    const one = { ...apart, redisPeakBytes, processes: { ...apart.processes, ...together.processes } };
    runs.push(one);
    const shown = Object.entries(one.processes).map(([name, { peakRssBytes, endRssBytes }]) => {
      return `${name} ${megabytes(peakRssBytes)} (end ${megabytes(endRssBytes)})`;
    });
    say(`  ${count(lines)} lines: ${shown.join(', ')}, Redis ${megabytes(redisPeakBytes)}`);
  }
  const names = Object.keys(runs[0]?.processes ?? {});
  const growth = Object.fromEntries(
    names.map((name) => {
      const [least, most] = [runs[0], runs.at(-1)].map((run) => run?.processes[name]?.peakRssBytes ?? 0);
      return [name, round((most ?? 0) / (least ?? 0), 3)];
    }),
  );
  const rows = names.map((name) => [
    name,
    ...runs.map(({ processes }) => {
      return `${megabytes(processes[name]?.peakRssBytes ?? 0)} / ${megabytes(processes[name]?.endRssBytes ?? 0)}`;
    }),
    ratio(growth[name]),
  ]);
  rows.push(['Redis, data at its most', ...runs.map(({ redisPeakBytes }) => megabytes(redisPeakBytes)), '']);
  say(`\n${tableOf(['peak / end RSS', ...runs.map(({ lines }) => `${count(lines)} lines`), 'growth'], rows)}`);
  return { memory: { concurrency: options.concurrency, growth, runs } };
}

async function runOnce(lines: number, concurrency: number, isApart: boolean): Promise<Measured> {
  using place = makeDirectory();
  await using redis = await startRedis();
  await using upstream = await startUpstream();
  const input = path.join(place.dir, 'prompts.jsonl');
  await writePrompts(input, { lines });
  const env = configure(place.dir, { baseUrl: upstream.baseUrl, redisUrl: redis.url, keys: [key] });
  const atOnce = ['--concurrency', String(concurrency)];
  const args = ['run', input, '--out', 'out', '--json', ...(isApart ? ['--no-worker'] : atOnce)];
  await using stack = new AsyncDisposableStack();
  const startedAt = performance.now();
  const run = stack.use(startNightshift(args, place.dir, env));
  const worker = isApart ? stack.use(startNightshift(['worker', ...atOnce], place.dir, env)) : null;
  using usage = watchUsage(worker ? { producer: run, worker } : { 'run, one process': run });
  const code = await run.ended;
  if (code !== 0) throw new Error(`nightshift run ended with ${code}; it said:\n${run.stderr()}`);
  const seconds = round((performance.now() - startedAt) / 1000);
  const processes = Object.entries(usage.look()).map(([name, { peakRssBytes, rssBytes }]: [string, Usage]) => {
    return [name, { peakRssBytes, endRssBytes: rssBytes }] as const;
  });
  return { lines, seconds, redisPeakBytes: await redis.peakBytes(), processes: Object.fromEntries(processes) };
}
