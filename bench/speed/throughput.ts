/**
 * Section "throughput": every contender on one upstream, in turns and repeated, so that whatever else the machine does
 * meets all of them; medians, and ratios of medians.
 */
import path from 'node:path';
import { contenders, type ContenderId } from './contenders.ts';
import { makeDirectory, startUpstream, writePrompts } from './place.ts';
import { runRound, type Round } from './round.ts';
import { count, median, medianOf, megabytes, ratio, round, roundOrNull, tableOf } from './statistics.ts';

export type ThroughputOptions = { only: ContenderId[]; rounds: number; lines: number; concurrency: number };

type By = Partial<Record<ContenderId, number>>;

export async function measureThroughput(options: ThroughputOptions, say: (text: string) => void) {
  const { only, rounds, lines, concurrency } = options;
  using place = makeDirectory();
  await using upstream = await startUpstream();
  const input = path.join(place.dir, 'prompts.jsonl');
  await writePrompts(input, { lines });
  say(`\nthroughput: ${count(lines)} lines, ${concurrency} calls at once, ${rounds} rounds`);
  for (const id of only) say(`  (${id}) ${contenders[id].title}: ${contenders[id].does}`);

  const found = new Map<ContenderId, Round[]>(only.map((id) => [id, []]));
  for (let turn = 0; turn < rounds; turn += 1) {
    // Each begins once in every place, as far as the rounds reach.
    const order = only.map((_, at) => only[(at + turn) % only.length]!);
    for (const id of order) {
      const one = await runRound(id, { upstream, input, lines, concurrency });
      found.get(id)?.push(one);
      const { completionsPerSecond, cpuMicrosPerCompletion, calls } = one;
      const again = calls === lines ? '' : `, ${calls - lines} calls more than lines`;
      say(
        `  round ${turn + 1} (${id}) ${count(completionsPerSecond)}/s, ${count(cpuMicrosPerCompletion)} \u00b5s${again}`,
      );
    }
  }

  const by = (value: (one: Round) => number | null): By => {
    const entries = only.map((id) => [id, roundOrNull(medianOf(found.get(id) ?? [], value))] as const);
    return Object.fromEntries(entries.filter(([, figure]) => figure !== null)) as By;
  };
  const completionsPerSecond = by((one) => one.completionsPerSecond);
  const result = {
    throughputSettings: { lines, concurrency, rounds },
    completionsPerSecond,
    /** Of e (the worker apart) and f (one process), each against the others. */
    ratios: ratiosOf(completionsPerSecond),
    cpuMicrosPerCompletion: by((one) => one.cpuMicrosPerCompletion),
    producerCpuMicrosPerCompletion: by((one) => one.producerCpuMicrosPerCompletion),
    redisCpuMicrosPerCompletion: by((one) => one.redisCpuMicrosPerCompletion),
    redisBytesPerQueuedLine: by((one) => one.redisBytesPerQueuedLine),
    enqueuedLinesPerSecond: by((one) => one.enqueuedLinesPerSecond),
    peakRssBytes: by((one) => one.peakRssBytes),
    callsPerLine: by((one) => one.calls / lines),
    /** Every round's completions per second, to judge the medians by. */
    completionsPerSecondOfRounds: Object.fromEntries(
      only.map((id) => [id, found.get(id)?.map((one) => round(one.completionsPerSecond))]),
    ),
  };
  const rows = only.map((id) => {
    const all = found.get(id) ?? [];
    const middle = (value: (one: Round) => number | null) => medianOf(all, value);
    const speed = median(all.map((one) => one.completionsPerSecond));
    return [
      `(${id}) ${contenders[id].title}`,
      count(speed),
      ratio(completionsPerSecond.c === undefined ? null : speed / completionsPerSecond.c),
      ratio(completionsPerSecond.d === undefined ? null : speed / completionsPerSecond.d),
      count(middle((one) => one.cpuMicrosPerCompletion)),
      count(middle((one) => one.producerCpuMicrosPerCompletion)),
      count(middle((one) => one.redisCpuMicrosPerCompletion)),
      count(middle((one) => one.redisBytesPerQueuedLine)),
      megabytes(middle((one) => one.peakRssBytes)),
    ];
  });
  const header = ['', 'completions/s', 'to (c)', 'to (d)', 'CPU \u00b5s', 'producer \u00b5s', 'Redis \u00b5s'];
  say(`\n${tableOf([...header, 'Redis B/line', 'peak RSS'], rows)}`);
  return result;
}

function ratiosOf(speeds: By): Record<string, number> {
  const pairs: [ContenderId, ContenderId][] = [
    ['e', 'a'],
    ['e', 'b'],
    ['e', 'c'],
    ['e', 'd'],
    ['f', 'c'],
    ['f', 'd'],
  ];
  const known = pairs.flatMap(([one, other]) => {
    const [top, bottom] = [speeds[one], speeds[other]];
    return top === undefined || bottom === undefined ? [] : [[`${one}:${other}`, round(top / bottom, 3)] as const];
  });
  return Object.fromEntries(known);
}
