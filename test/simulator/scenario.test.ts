import { expect, test } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { createRandom } from '../../src/simulator/seeded.ts';
import { sampleLatencyMs } from '../../src/simulator/latency.ts';
import { parseScenario, readScenarioFile } from '../../src/simulator/scenario.ts';

test.each([
  ['scenario.json', 'privatemind', 4],
  ['curate-me.scenario.json', 'curate-me', 4],
  ['openai.scenario.json', 'openai', 3],
])('the example %s is a valid scenario of %s', (name, provider, keys) => {
  const file = new URL(`../../examples/${name}`, import.meta.url).pathname;
  const scenario = parseScenario(readScenarioFile(file), file);
  expect(scenario.keys).toHaveLength(keys);
  expect(scenario.dialect.provider).toBe(provider);
});

const key = { name: 'a' };
test.each([
  [{ latency: 5 }, /the top level: unknown field "latency" \(known: .*latencyMs/],
  [{ latencyMs: -1 }, /latencyMs: Too small/],
  [{ latencyMs: 'slow' }, /latencyMs: expected milliseconds/],
  [{ latencyMs: { min: 5, max: 1 } }, /latencyMs: expected milliseconds/],
  [{ outputTokens: 0 }, /outputTokens: Too small/],
  [{ outputTokens: { min: 2, max: 1 } }, /outputTokens: expected tokens/],
  [{ keys: [] }, /keys: /],
  [{ keys: [{ ...key, rpm: 0 }] }, /keys\[0\]\.rpm: /],
  [{ keys: [{ ...key, rate: 5 }] }, /keys\[0\]: unknown field "rate"/],
  [{ keys: [{ ...key, expiresAt: 'soon' }] }, /keys\[0\]\.expiresAt: expected Unix milliseconds or an ISO time/],
  [{ keys: [key, key] }, /keys\[1\]\.name: "a" is used twice/],
  [{ keys: [{ ...key, allowedModels: ['gone'] }] }, /keys\[0\]\.allowedModels: unknown model "gone"/],
  [{ models: [{ id: 'x' }, { id: 'x' }] }, /models\[1\]\.id: "x" is used twice/],
  [
    {
      models: [
        { id: 'x', aliases: ['f'] },
        { id: 'y', aliases: ['f'] },
      ],
    },
    /models\[1\]\.aliases: "f" is used twice/,
  ],
  [{ models: [{ id: 'x', capabilities: { tools: false } }] }, /models\[0\]\.capabilities\.tools/],
  [{ faults: [{ kind: 'explode' }] }, /faults\[0\]\.kind: /],
  [{ faults: [{ kind: 'status' }] }, /faults\[0\]\.status: expected with kind "status" and only there/],
  [{ faults: [{ kind: 'hang', status: 500 }] }, /faults\[0\]\.status: expected/],
  [{ faults: [{ kind: 'hang', keys: ['nobody'] }] }, /faults\[0\]\.keys: unknown key "nobody" \(known: sim-1/],
  [{ faults: [{ kind: 'hang', rate: 2 }] }, /faults\[0\]\.rate: /],
  [{ events: [{ do: { change: 'revoke_key', key: 'sim-1' } }] }, /events\[0\]\.afterCalls: expected either/],
  [
    { events: [{ atMs: 1, do: { change: 'revoke_key', key: 'nobody' } }] },
    /events\[0\]\.do\.key: unknown key "nobody"/,
  ],
  [{ events: [{ atMs: 1, do: { change: 'explode' } }] }, /events\[0\]\.do\.change: expected one of revoke_key/],
  [
    { events: [{ atMs: 1, do: { change: 'move_alias', alias: 'fast', to: 'gone' } }] },
    /events\[0\]\.do\.to: unknown model/,
  ],
  [[], /the top level: /],
  [{ provider: 'someone' }, /provider: /],
  [{ errorShape: 'older' }, /errorShape: expected with the provider "curate-me", and this one is "privatemind"/],
  [{ provider: 'curate-me', flavour: 'litellm' }, /flavour: expected with the provider "openai"/],
  [{ provider: 'openai', orgCap: {} }, /orgCap: expected with the provider "privatemind"/],
  [{ provider: 'curate-me', errorShape: 'oldest' }, /errorShape: /],
  [{ provider: 'curate-me', markers: { hold: '"hold"' } }, /markers\.hold: expected printable ASCII without quotes/],
  [{ provider: 'openai', approvals: { rate: 1 } }, /approvals: expected with the provider "curate-me"/],
  [{ keys: [{ ...key, maxConcurrent: 1 }] }, /keys\[0\]\.maxConcurrent: the provider "privatemind" has no such thing/],
  [{ provider: 'openai', keys: [{ ...key, team: 'red' }] }, /keys\[0\]\.team: the provider "openai" has no such/],
  [{ provider: 'openai', keys: [{ ...key, inFlightBudgetUsd: 1 }] }, /keys\[0\]\.inFlightBudgetUsd: the provider/],
  [{ teams: { red: {} } }, /teams\.red: the provider "privatemind"/],
  [{ orgs: { o: { dailyCalls: 5 } } }, /orgs\.o\.dailyCalls: the provider "privatemind"/],
  [{ provider: 'openai', orgs: { o: { suspended: true } } }, /orgs\.o\.suspended: the provider "openai"/],
  [{ provider: 'openai', models: [{ id: 'x', aliases: ['f'] }] }, /models\[0\]\.aliases: the provider "openai"/],
  [{ faults: [{ kind: 'refuse' }] }, /faults\[0\]\.reason: expected with kind "refuse" and only there/],
  [{ faults: [{ kind: 'refuse', reason: 'concurrency' }] }, /faults\[0\]\.reason: the provider "privatemind"/],
  [{ faults: [{ kind: 'hang', shape: 'flat' }] }, /faults\[0\]\.shape: expected with kind "stream_error"/],
  [{ events: [{ atMs: 1, do: { change: 'end_trial', key: 'sim-1' } }] }, /events\[0\]\.do\.change: the provider/],
])('%j is refused by name', (scenario, message) => {
  expect(() => parseScenario(scenario, 'my.json')).toThrow(AppError);
  expect(() => parseScenario(scenario, 'my.json')).toThrow(/^my\.json is not a valid scenario:/);
  expect(() => parseScenario(scenario, 'my.json')).toThrow(message);
});

test('an event may speak of a model that an earlier event adds', () => {
  const events = [
    { atMs: 1, do: { change: 'add_model', model: { id: 'later' } } },
    { atMs: 2, do: { change: 'move_alias', alias: 'fast', to: 'later' } },
  ];
  expect(parseScenario({ events }).events).toHaveLength(2);
});

test('a lognormal latency has the percentiles it was given', () => {
  const random = createRandom(1);
  const samples = Array.from({ length: 20_000 }, () => sampleLatencyMs({ p50: 100, p99: 1000 }, random)).toSorted(
    (a, b) => a - b,
  );
  const p50 = samples[10_000]!;
  const p99 = samples[19_800]!;
  expect(p50).toBeGreaterThan(95);
  expect(p50).toBeLessThan(105);
  expect(p99).toBeGreaterThan(900);
  expect(p99).toBeLessThan(1100);
});
