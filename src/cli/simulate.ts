/**
 * `nightshift simulate`: runs the simulator until it is stopped. The address and the lines to paste go to stdout; what
 * happened is told at the end, as a table on stderr or, with --json, as one more line on stdout.
 */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { providers, type Provider } from '../simulator/dialect.ts';
import type { Latency } from '../simulator/latency.ts';
import { usdOf } from '../simulator/money.ts';
import { readScenarioFile } from '../simulator/scenario.ts';
import { createSimulator, type Simulator } from '../simulator/server.ts';
import type { Truth } from '../simulator/truth.ts';

type SimulateOptions = {
  port: number;
  host: string;
  provider?: Provider;
  scenario?: string;
  instant?: true;
  json?: true;
};

const defaultPort = 8787;
/** What a scenario without `latencyMs` gets here: about as slow as a small model is. */
const usualLatencyMs: Latency = { p50: 400, p99: 2000 };

const examples = `
Examples:
  $ nightshift simulate --port 0 --instant
  $ nightshift simulate --scenario examples/scenario.json --json > truth.json

It prints what to export in another shell, and when it is stopped (Ctrl-C) what
happened. One batch alone is rehearsed by: nightshift run in.jsonl --simulate`;

export function registerSimulate(program: Command): void {
  program
    .command('simulate')
    .description('Runs a simulated provider, to try things out without keys and without cost.')
    .option('--port <port>', 'port to listen on; 0 takes any free one', parsePort, defaultPort)
    .option('--host <host>', 'address to listen on', '127.0.0.1')
    .addOption(new Option('--provider <kind>', 'whom to simulate, whatever the scenario says').choices(providers))
    .option('--scenario <file>', 'keys, models, faults and events (JSON)')
    .option('--instant', 'answer at once, whatever the scenario says')
    .option('--json', 'what happened as JSON on stdout, at the end')
    .addHelpText('after', examples)
    .action(async (options: SimulateOptions) => {
      await using simulator = await start(options);
      const stopped = stopSignal();
      process.stdout.write(introduce(simulator));
      await stopped;
      const truth = simulator.truth();
      if (options.json) process.stdout.write(`${JSON.stringify(truth)}\n`);
      else process.stderr.write(tableOf(truth, simulator));
    });
}

function start({ port, host, provider, scenario: file, instant }: SimulateOptions): Promise<Simulator> {
  const given = file === undefined ? {} : readScenarioFile(file);
  const scenario = isPlainObject(given)
    ? { latencyMs: usualLatencyMs, ...given, ...(provider && { provider }), ...(instant && { latencyMs: 0 }) }
    : given;
  return createSimulator({ scenario, scenarioName: file, port, host });
}

/** The file may hold anything; the scenario's own check says so. */
function isPlainObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function stopSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  // Once each: a second signal ends the process in the usual way.
  process.once('SIGINT', () => resolve());
  process.once('SIGTERM', () => resolve());
  return promise;
}

function introduce({ baseUrl, environment }: Simulator): string {
  const lines = Object.entries(environment).map(([name, value]) => `export ${name}='${value}'`);
  return `${[baseUrl, ...lines].join('\n')}\n`;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError('expected a port from 0 to 65535.');
}

function tableOf(truth: Truth, { keys }: Simulator): string {
  const header = [
    'key',
    'calls',
    'answered',
    'billed',
    '429',
    '402',
    'most/window',
    'rpm',
    'tokens in',
    'tokens out',
    'USD',
  ];
  const rows = keys.map(({ name }) => {
    const key = truth.keys[name]!;
    return [
      name,
      key.calls,
      key.answered,
      key.billed,
      key.statuses['429'] ?? 0,
      key.statuses['402'] ?? 0,
      key.maxInWindow,
      keys.find((one) => one.name === name)?.rpm ?? '-',
      key.inputTokens,
      key.outputTokens,
      usdOf(key.costNanoUsd).toFixed(6),
    ].map(String);
  });
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const lines = [header, ...rows].map((row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!))).join('  '),
  );
  return `${lines.join('\n')}\n`;
}
