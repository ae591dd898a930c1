/**
 * Section "validate": how fast a large file is validated, how soon after that the first request is on the wire, and how
 * fast the producer fills the queue.
 */
import path from 'node:path';
import { startNode } from './children.ts';
import type { EnqueueTask } from './enqueue.ts';
import { configure, makeDirectory, startNightshift, startUpstream, writePrompts, type Moment } from './place.ts';
import { startRedis } from './redis.ts';
import { count, median, megabytes, round, tableOf } from './statistics.ts';
import type { Validated, ValidateTask } from './validate-once.ts';

export type ValidationOptions = { megabytes: number; repeats: number; enqueueLines: number; firstRequestLines: number };

export async function measureValidation(options: ValidationOptions, say: (text: string) => void) {
  using place = makeDirectory();
  const file = path.join(place.dir, 'large.jsonl');
  const { bytes, lines } = await writePrompts(file, { bytes: options.megabytes * 1e6 });
  say(`\nvalidate: ${megabytes(bytes)}, ${count(lines)} lines, ${options.repeats} times`);
  const oneThread: Speed[] = [];
  const wholeMachine: Speed[] = [];
  const command: number[] = [];
  for (let turn = 0; turn < options.repeats; turn += 1) {
    oneThread.push(await validateOnce({ file, threads: 1 }));
    wholeMachine.push(await validateOnce({ file }));
    command.push(bytes / 1e6 / ((await checkOnce(file, place.dir)) / 1000));
    const shown = [oneThread, wholeMachine].map((all) => count(all.at(-1)?.perSecond ?? null));
    say(`  one thread ${shown[0]} MB/s, whole machine ${shown[1]}, the command ${count(command.at(-1) ?? null)}`);
  }
  const enqueue = await enqueueRate(options.enqueueLines, options.repeats);
  const firstRequestMs = await firstRequest(options.firstRequestLines, options.repeats);
  const middle = (all: Speed[], value: (one: Speed) => number) => round(median(all.map(value)));
  const validationMegabytesPerSecond = {
    oneThread: middle(oneThread, (one) => one.perSecond),
    wholeMachine: middle(wholeMachine, (one) => one.perSecond),
    checkCommand: round(median(command)),
  };
  const validationMegabytesPerCpuSecond = {
    oneThread: middle(oneThread, (one) => one.perCpuSecond),
    wholeMachine: middle(wholeMachine, (one) => one.perCpuSecond),
  };
  const validationPeakRssBytes = {
    oneThread: middle(oneThread, (one) => one.peakRssBytes),
    wholeMachine: middle(wholeMachine, (one) => one.peakRssBytes),
  };
  const rows = [
    ['validation, one thread, MB/s', count(validationMegabytesPerSecond.oneThread)],
    ['validation, whole machine, MB/s', count(validationMegabytesPerSecond.wholeMachine)],
    ['nightshift check, start to end, MB/s', count(validationMegabytesPerSecond.checkCommand)],
    ['validation, one thread, MB per CPU second', count(validationMegabytesPerCpuSecond.oneThread)],
    ['validation, whole machine, MB per CPU second', count(validationMegabytesPerCpuSecond.wholeMachine)],
    ['producer into the queue, lines/s', count(enqueue)],
    ['end of validation to the first request, ms', count(median(firstRequestMs))],
  ];
  say(`\n${tableOf(['', 'median'], rows)}`);
  return {
    validationFile: { bytes, lines },
    validationMegabytesPerSecond,
    validationMegabytesPerCpuSecond,
    validationPeakRssBytes,
    producerLinesPerSecond: round(enqueue),
    firstRequestAfterValidationMs: round(median(firstRequestMs)),
    firstRequestAfterValidationMsOfRuns: firstRequestMs.map((ms) => round(ms)),
  };
}

/** MB per second of the clock, and of all threads' CPU time: the latter says what a quieter machine would do. */
type Speed = { perSecond: number; perCpuSecond: number; peakRssBytes: number };

async function validateOnce(task: ValidateTask): Promise<Speed> {
  await using child = startNode([path.join(import.meta.dirname, 'validate-once.ts'), JSON.stringify(task)]);
  const { ms, cpuMs, sizeBytes, invalid, peakRssBytes } = await child.until<Validated>('validated');
  if (invalid > 0) throw new Error(`${invalid} lines of the benchmark's own file are invalid`);
  const megabytesRead = sizeBytes / 1e6;
  return { perSecond: megabytesRead / (ms / 1000), perCpuSecond: megabytesRead / (cpuMs / 1000), peakRssBytes };
}

/** Milliseconds of `nightshift check`, from its start to its end. */
async function checkOnce(file: string, dir: string): Promise<number> {
  const startedAt = performance.now();
  await using check = startNightshift(['check', file, '--offline', '--json'], dir, {});
  const code = await check.ended;
  if (code !== 0) throw new Error(`nightshift check ended with ${code}; it said:\n${check.stderr()}`);
  return performance.now() - startedAt;
}

/** Lines per second. */
async function enqueueRate(lines: number, repeats: number): Promise<number> {
  using place = makeDirectory();
  const input = path.join(place.dir, 'prompts.jsonl');
  await writePrompts(input, { lines });
  const rates: number[] = [];
  for (let turn = 0; turn < repeats; turn += 1) {
    await using redis = await startRedis();
    const task: EnqueueTask = { input, lines, redisUrl: redis.url, dir: place.dir };
    await using child = startNode([path.join(import.meta.dirname, 'enqueue.ts'), JSON.stringify(task)]);
    const { ms } = await child.until<{ ms: number }>('enqueued');
    rates.push(lines / (ms / 1000));
    await child.ended;
  }
  return median(rates);
}

/** Milliseconds from the end of the validation to the first request that reaches the upstream; `run`, one process. */
async function firstRequest(lines: number, repeats: number): Promise<number[]> {
  using place = makeDirectory();
  const input = path.join(place.dir, 'prompts.jsonl');
  await writePrompts(input, { lines });
  const found: number[] = [];
  for (let turn = 0; turn < repeats; turn += 1) {
    await using redis = await startRedis();
    await using upstream = await startUpstream();
    await upstream.expect(Infinity);
    const keys = [{ name: 'bench', secret: 'sk-bench-0123456789abcdef', rpm: null }];
    const env = configure(place.dir, { baseUrl: upstream.baseUrl, redisUrl: redis.url, keys });
    const preload = ['--import', path.join(import.meta.dirname, 'validated.ts')];
    const args = ['run', input, '--out', `out-${turn}`, '--json'];
    await using run = startNightshift(args, place.dir, env, preload);
    const validated = await run.until<Moment>('validated');
    const request = await upstream.child.until<Moment>('request');
    found.push(request.atMs - validated.atMs);
    await run.stop();
  }
  return found;
}
