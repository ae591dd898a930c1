/** A batch through what is OpenAI-shaped, and through two kinds of providers at once. */
import { expect, test } from 'vitest';
import { createPlace, plainLines, readAttempts, readKeys, tally, writeLines } from './place.ts';
import { expectExit, ledgerAndTruth, readManifest, readResults, summaryOf } from './support.ts';

const model = 'gpt-5-mini';
const run = ['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '12'];
const prices = { [model]: { inputUsdPerMTok: 0.25, outputUsdPerMTok: 2 } };

test.each(['insufficient_quota', 'project_spend_limit_exceeded'] as const)(
  'a 429 that says %s is an empty wallet: the batch stops with 3, and goes on when it is filled',
  async (code) => {
    const place = await createPlace({
      providers: {
        openai: {
          scenario: {
            quotaCodes: { org: code },
            events: [{ afterCalls: 15, do: { change: 'set_org_budget', org: 'sim-org', budgetUsd: 0 } }],
          },
        },
      },
      config: { prices },
    });
    const ids = writeLines(place, plainLines(50, model));
    const stopped = await place.nightshift(run);
    expectExit(stopped, 3);
    expect(summaryOf(stopped).stoppedBy?.code).toBe('budget');
    expect(Object.keys(readManifest(place).attempts.byErrorCode)).toEqual([code]);
    expect(place.truth().orgs['sim-org']?.callsAfterOrgCap).toBeLessThan(12);
    place.control('openai', { change: 'set_org_budget', org: 'sim-org', budgetUsd: null });
    expectExit(await place.nightshift(run), 0);
    expect(readResults(place, ids).errors).toEqual([]);
    const { ledger, provider } = ledgerAndTruth(place);
    expect(ledger).toEqual(provider);
  },
);

test('a 402 is a moment, a key or the organisation, by its limit_source; prices are those of the listing', async () => {
  const place = await createPlace({
    providers: {
      openai: {
        keys: [{ name: 'a' }, { name: 'b' }],
        scenario: {
          flavour: 'openrouter',
          faults: [{ kind: 'refuse', reason: 'in_flight_budget', retryAfterMs: 300, times: 3, keys: ['b'] }],
          events: [
            { afterCalls: 30, do: { change: 'set_key_budget', key: 'a', budgetUsd: 0 } },
            { afterCalls: 90, do: { change: 'set_org_budget', org: 'sim-org', budgetUsd: 0 } },
          ],
        },
      },
    },
  });
  const ids = writeLines(place, plainLines(120, model));
  // A moment is no attempt: with a single one nothing fails.
  const args = [...run, '--attempts', '1'];
  const stopped = await place.nightshift(args);
  expectExit(stopped, 3);
  const standings = await readKeys(place);
  expect(standings['a']).toMatchObject({ standing: 'retired' });
  expect(standings['b']).toMatchObject({ standing: 'retired', reason: 'org_exhausted' });
  expect(place.truth().keys['a']?.refusals.key_budget).toBeGreaterThan(0);
  place.control(
    'openai',
    { change: 'set_org_budget', org: 'sim-org', budgetUsd: null },
    { change: 'set_key_budget', key: 'a', budgetUsd: null },
  );
  expectExit(await place.nightshift(args), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  expect(place.truth().keys['b']?.refusals.in_flight_budget).toBe(3);
  const completed = readAttempts(place).filter(({ outcome }) => outcome === 'completed');
  expect(tally(completed.map((row) => row.cost_source))).toEqual({ listing: 120 });
  const { ledger, provider } = ledgerAndTruth(place);
  expect(ledger).toEqual(provider);
});

test('an error within a 200 is tried again; a 429 by concurrency, however it is worded, makes fewer calls at once', async () => {
  const place = await createPlace({
    providers: {
      openai: {
        keys: [{ name: 'narrow', simulated: { maxConcurrent: 4 } }],
        scenario: { quotaWording: true, faults: [{ kind: 'error_200', times: 4, afterCalls: 20 }] },
      },
    },
    config: { prices },
  });
  const ids = writeLines(place, plainLines(80, model));
  expectExit(await place.nightshift([...run, '--concurrency', '30', '--attempts', '3']), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  const truth = place.truth();
  expect(truth.faults).toEqual({ error_200: 4 });
  expect(truth.keys['narrow']?.maxInFlight).toBeLessThanOrEqual(4);
  const refused = truth.keys['narrow']?.refusals.concurrency ?? 0;
  expect(refused).toBeGreaterThan(0);
  // What was in flight when the first one came, and no more of that.
  expect(refused).toBeLessThan(60);
  expect(tally(readAttempts(place).map((row) => row.outcome))).toEqual({
    completed: 80,
    failed: 4,
    rate_limited: refused,
  });
  expect((await readKeys(place))['narrow']).toMatchObject({ standing: 'active' });
});

test('keys of two providers serve one batch, each the models it has, by the names they have there', async () => {
  const place = await createPlace({
    providers: { privatemind: { keys: [{ name: 'ours' }] }, openai: { keys: [{ name: 'theirs' }] } },
    config: { prices, aliases: { openai: { fast: model } } },
  });
  const lines = plainLines(120).map((line, index) => ({
    ...line,
    model: ['fast', 'fast', 'deepseek-v4-pro', 'gpt-5'][index % 4] as string,
  }));
  const ids = writeLines(place, lines);
  expectExit(await place.nightshift(run), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  const answered = tally(readAttempts(place).map((row) => `${row.key_name} ${row.resolved_model} ${row.cost_source}`));
  expect(Object.keys(answered).toSorted()).toEqual([
    'ours deepseek-v4-pro provider',
    'ours qwen3-30b-instruct provider',
    // Its price is written nowhere.
    'theirs gpt-5 none',
    `theirs ${model} configured`,
  ]);
  expect(answered['ours deepseek-v4-pro provider']).toBe(30);
  expect(answered['theirs gpt-5 none']).toBe(30);
});
