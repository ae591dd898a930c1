/**
 * `--simulate`: the built-in simulator in the provider's place, with keys of its own. Its batches live in a namespace
 * and a data directory of their own, so that no made-up cent reaches the real ledger.
 */
import path from 'node:path';
import type { Config } from '../config.ts';
import { createSimulator } from '../simulator/server.ts';
import type { Globals } from './main.ts';
import { configOf } from './session.ts';

export async function startSimulation(globals: Globals): Promise<AsyncDisposable & { config: Config }> {
  const simulator = await createSimulator({ scenario: { latencyMs: { p50: 300, p99: 1500 } } });
  const real = configOf(globals, { secrets: false });
  const provider = { name: 'privatemind', kind: 'privatemind' as const, baseUrl: simulator.baseUrl, windowMs: 60_000 };
  const config: Config = {
    ...real,
    namespace: `${real.namespace}-simulated`,
    dataDir: path.join(real.dataDir, 'simulated'),
    providers: { privatemind: provider },
    keys: simulator.keys.map(({ name, token, org, rpm }) => ({
      name,
      provider: provider.name,
      secretFrom: 'the simulator',
      secret: token,
      upstreamSecret: null,
      rpm,
      tpm: null,
      tpmCounts: 'used',
      maxInFlight: null,
      budgetNanoUsd: null,
      org: org ?? provider.name,
      bucket: null,
    })),
  };
  return { config, [Symbol.asyncDispose]: () => simulator.close() };
}
