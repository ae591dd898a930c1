/**
 * One contender, once: from an empty Redis and an empty output file to the last result on disk. The clock runs from the
 * first answer of the upstream to the moment at which the output file holds every line, for all alike; a queue is
 * filled before. For nightshift "filled" means that its producer has put its window into the queue.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNames } from '../../src/redis/names.ts';
import { createQueue } from '../../jobs/completion.ts';
import { startNode, watchUsage, type Child, type Usage } from './children.ts';
import type { ContenderId, HomeMadeId, Task } from './contenders.ts';
import {
  configure,
  makeDirectory,
  startNightshift,
  untilFileHolds,
  type KeyPlan,
  type Moment,
  type Upstream,
} from './place.ts';
import { startRedis, type BenchRedis } from './redis.ts';

export type RoundPlan = { upstream: Upstream; input: string; lines: number; concurrency: number };

export type Round = {
  completionsPerSecond: number;
  /** Of the working process. */
  cpuMicrosPerCompletion: number;
  peakRssBytes: number;
  /** Null where there is none. */
  redisCpuMicrosPerCompletion: number | null;
  redisBytesPerQueuedLine: number | null;
  enqueuedLinesPerSecond: number | null;
  /** nightshift's other process: producer, collector and ledger. */
  producerCpuMicrosPerCompletion: number | null;
  /** Calls the upstream answered; more than the lines where some were sent again. */
  calls: number;
};

/** The limiter runs, and nothing waits for it. */
const freeKey: KeyPlan = { name: 'bench', secret: 'sk-bench-0123456789abcdef', rpm: 100_000_000 };
const names = createNames('bench');

export async function runRound(id: ContenderId, plan: RoundPlan): Promise<Round> {
  using place = makeDirectory();
  switch (id) {
    case 'a':
    case 'b':
      return await runWithoutQueue(id, plan, place.dir);
    case 'c':
    case 'd':
      return await runWithQueue(id, plan, place.dir);
    case 'e':
      return await runApart(plan, place.dir);
    case 'f':
      return await runTogether(plan, place.dir);
    default:
      return id satisfies never;
  }
}

async function runWithoutQueue(id: HomeMadeId, plan: RoundPlan, dir: string): Promise<Round> {
  const task = taskOf(id, plan, dir, '');
  await using worker = startHomeMade(task);
  await begin(worker, plan);
  return await measure(plan, { worker }, task.output, null);
}

async function runWithQueue(id: HomeMadeId, plan: RoundPlan, dir: string): Promise<Round> {
  await using redis = await startRedis();
  const task = taskOf(id, plan, dir, redis.socketPath);
  const before = await redis.dataBytes();
  const filler = startHomeMade({ ...task, id: 'fill' });
  const { ms } = await filler.until<{ ms: number }>('filled');
  await filler.stop();
  const redisBytesPerQueuedLine = ((await redis.dataBytes()) - before) / plan.lines;
  await using worker = startHomeMade(task);
  await begin(worker, plan);
  const round = await measure(plan, { worker }, task.output, redis);
  return { ...round, redisBytesPerQueuedLine, enqueuedLinesPerSecond: plan.lines / (ms / 1000) };
}

async function runApart(plan: RoundPlan, dir: string): Promise<Round> {
  await using redis = await startRedis();
  const env = configure(dir, { baseUrl: plan.upstream.baseUrl, redisUrl: redis.url, keys: [freeKey] });
  const before = await redis.dataBytes();
  await using producer = startNightshift(['run', plan.input, '--out', 'out', '--no-worker', '--json'], dir, env);
  const queued = await untilFilled(redis, producer);
  const redisBytesPerQueuedLine = ((await redis.dataBytes()) - before) / queued;
  await plan.upstream.expect(plan.lines);
  await using worker = startNightshift(workerArgs(plan), dir, env);
  const round = await measure(plan, { producer, worker }, outputOf(plan, dir), redis);
  await expectSuccess(producer);
  return { ...round, redisBytesPerQueuedLine };
}

async function runTogether(plan: RoundPlan, dir: string): Promise<Round> {
  await using redis = await startRedis();
  const env = configure(dir, { baseUrl: plan.upstream.baseUrl, redisUrl: redis.url, keys: [freeKey] });
  const args = ['run', plan.input, '--out', 'out', '--json', '--concurrency', String(plan.concurrency)];
  await plan.upstream.expect(plan.lines);
  await using worker = startNightshift(args, dir, env);
  const round = await measure(plan, { worker }, outputOf(plan, dir), redis);
  await expectSuccess(worker);
  return round;
}

function workerArgs({ concurrency }: RoundPlan): string[] {
  return ['worker', '--concurrency', String(concurrency)];
}

function outputOf({ input }: RoundPlan, dir: string): string {
  return path.join(dir, 'out', `${path.basename(input, '.jsonl')}.output.jsonl`);
}

function taskOf(id: HomeMadeId, plan: RoundPlan, dir: string, redisSocket: string): Task {
  const { input, concurrency, upstream } = plan;
  return { id, input, output: path.join(dir, 'output.jsonl'), baseUrl: upstream.baseUrl, concurrency, redisSocket };
}

function startHomeMade(task: Task): Child {
  return startNode([path.join(import.meta.dirname, 'home-made.ts'), JSON.stringify(task)]);
}

async function begin(worker: Child, { upstream, lines }: RoundPlan): Promise<void> {
  await worker.until('ready');
  await upstream.expect(lines);
  worker.send({ type: 'go' });
}

async function expectSuccess(child: Child): Promise<void> {
  const code = await child.ended;
  if (code !== 0) throw new Error(`nightshift ended with ${code}; it said:\n${child.stderr()}`);
}

/** Until the producer has filled its window: the queue has grown, and then has not for a while. Returns its lines. */
async function untilFilled({ socketPath }: BenchRedis, producer: Child): Promise<number> {
  const queue = createQueue({ path: socketPath }, names);
  try {
    let seen = 0;
    for (let same = 0; same < 6;) {
      await sleep(100);
      if (!producer.usage()) throw new Error(`nightshift run ended early; it said:\n${producer.stderr()}`);
      const now = await queue.getJobCountByTypes(...waiting);
      same = now > 0 && now === seen ? same + 1 : 0;
      seen = now;
    }
    const jobs = await queue.getJobs([...waiting]);
    return jobs.reduce((lines, { data }) => lines + data.text.split('\n').length, 0);
  } finally {
    await queue.close();
  }
}

const waiting = ['waiting', 'prioritized'] as const;

async function measure(
  { upstream, lines }: RoundPlan,
  children: { worker: Child; producer?: Child },
  output: string,
  redis: BenchRedis | null,
): Promise<Round> {
  using usage = watchUsage(children);
  const first = await Promise.race([
    upstream.child.until<Moment>('first'),
    children.worker.ended.then((code) => {
      throw new Error(`it ended with ${code} before its first call; it said:\n${children.worker.stderr()}`);
    }),
  ]);
  const from = usage.look();
  const redisFrom = await redis?.cpuMicros();
  const gone = () => {
    const ended = Object.entries(children).find(([, child]) => !child.usage());
    return ended ? `${ended[0]} has ended; it said:\n${ended[1].stderr()}` : null;
  };
  const lastMs = await untilFileHolds(output, lines, gone);
  const to = usage.look();
  const redisTo = await redis?.cpuMicros();
  const spent = (of: 'worker' | 'producer') => cpuBetween(from[of], to[of]) / lines;
  const calls = await upstream.answered();
  return {
    completionsPerSecond: (lines - 1) / ((lastMs - first.atMs) / 1000),
    cpuMicrosPerCompletion: spent('worker'),
    peakRssBytes: to['worker']?.peakRssBytes ?? 0,
    redisCpuMicrosPerCompletion:
      redisFrom === undefined || redisTo === undefined ? null : (redisTo - redisFrom) / lines,
    redisBytesPerQueuedLine: null,
    enqueuedLinesPerSecond: null,
    producerCpuMicrosPerCompletion: children.producer ? spent('producer') : null,
    calls,
  };
}

function cpuBetween(from: Usage | undefined, to: Usage | undefined): number {
  return (to?.cpuMicros ?? 0) - (from?.cpuMicros ?? 0);
}
