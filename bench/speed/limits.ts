/**
 * Section "limits": four keys with strict windows and more work than they allow, served by one to four workers. How
 * much of the limits is used, and how many calls the provider refuses for being too many.
 */
import path from 'node:path';
import { startNode, type Child } from './children.ts';
import type { LimitedReport, LimitedTask } from './limited.ts';
import { configure, makeDirectory, startNightshift, writePrompts } from './place.ts';
import { startRedis } from './redis.ts';
import { count, round, tableOf } from './statistics.ts';

export type LimitsOptions = { workers: number[]; windowMs: number; windows: number };

const keys = [
  { name: 'a', rpm: 600 },
  { name: 'b', rpm: 600 },
  { name: 'c', rpm: 300 },
  { name: 'd', rpm: 60 },
];
const perWindow = keys.reduce((sum, { rpm }) => sum + rpm, 0);
/** The figure of the record: the fewest workers that are a fleet. */
const workersOfRecord = 3;

export async function measureLimits(options: LimitsOptions, say: (text: string) => void) {
  const { windowMs, windows } = options;
  const lines = perWindow * windows;
  say(
    `\nlimits: ${keys.map(({ rpm }) => rpm).join('/')} requests per ${windowMs / 1000} s, ${count(lines)} lines ` +
      `(${windows} windows), strict`,
  );
  const runs: ({ workers: number } & LimitedReport)[] = [];
  for (const workers of options.workers) {
    const report = await runOnce(workers, lines, windowMs);
    runs.push({ workers, ...report });
    say(`  ${workers} workers: ${(report.use * 100).toFixed(2)} %, ${report.rejected429} refused`);
  }
  const rows = runs.map((run) => [
    String(run.workers),
    `${(run.use * 100).toFixed(2)} %`,
    String(run.rejected429),
    keys.map(({ name }) => run.mostInWindow[name] ?? 0).join('/'),
    `${(run.firstToLastMs / 1000).toFixed(1)} s`,
    `${(((windows - 1) * windowMs) / 1000).toFixed(1)} s`,
  ]);
  const header = ['workers', 'limit use', '429s', 'most in a window', 'first to last call', 'limits alone'];
  say(`\n${tableOf(header, rows)}`);
  const ofRecord = runs.find(({ workers }) => workers === workersOfRecord) ?? runs.at(-1);
  return {
    limitUse: round(ofRecord?.use ?? 0, 5),
    received429: runs.reduce((sum, { rejected429 }) => sum + rejected429, 0),
    limits: {
      windowMs,
      windows,
      keys,
      runs: runs.map(({ use, useByKey, firstToLastMs, ...run }) => ({
        ...run,
        use: round(use, 5),
        useByKey: Object.fromEntries(Object.entries(useByKey).map(([name, share]) => [name, round(share, 5)])),
        firstToLastMs: Math.round(firstToLastMs),
      })),
    },
  };
}

async function runOnce(workerCount: number, lines: number, windowMs: number): Promise<LimitedReport> {
  using place = makeDirectory();
  await using redis = await startRedis();
  const task: LimitedTask = { windowMs, keys };
  await using provider = startNode([path.join(import.meta.dirname, 'limited.ts'), JSON.stringify(task)]);
  type Listening = { baseUrl: string; secrets: { name: string; secret: string }[] };
  const { baseUrl, secrets } = await provider.until<Listening>('listening');
  const env = configure(place.dir, {
    baseUrl,
    redisUrl: redis.url,
    windowMs,
    kind: 'privatemind',
    keys: secrets.map(({ name, secret }, index) => ({ name, secret, rpm: keys[index]?.rpm ?? null })),
  });
  const input = path.join(place.dir, 'prompts.jsonl');
  await writePrompts(input, { lines, model: 'fast' });
  await using stack = new AsyncDisposableStack();
  const start = (args: string[]): Child => stack.use(startNightshift(args, place.dir, env));
  const workers = Array.from({ length: workerCount }, () => start(['worker']));
  await Promise.all(workers.map((worker) => worker.untilPrinted(/calls at once/)));
  const producer = start(['run', input, '--out', 'out', '--no-worker', '--json']);
  const code = await producer.ended;
  if (code !== 0) throw new Error(`nightshift run ended with ${code}; it said:\n${producer.stderr()}`);
  provider.send({ type: 'report' });
  const { type: _, ...report } = await provider.until<LimitedReport & { type: string }>('report');
  return report;
}
