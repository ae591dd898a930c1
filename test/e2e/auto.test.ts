/** Limits that nobody told: found out by running into them once, used, remembered, and shared with others. */
import { readFileSync } from 'node:fs';
import { request } from 'undici';
import { expect, test } from 'vitest';
import { waitFor } from '../support/wait.ts';
import { createPlace, plainLines, readAttempts, readKeys, writeLines } from './place.ts';
import { endOf, expectExit, readResults, summaryOf, type KeyPlan } from './support.ts';

/** Its limit is the provider's secret. */
const auto = (name: string, rpm: number): KeyPlan => ({
  name,
  simulated: { rpm },
  configured: { rpm: 'auto' },
});

test('limits of 600, 300 and 60 are found with at most two 429s each, used, shown and remembered', async () => {
  const limits = { wide: 600, middle: 300, narrow: 60 };
  const windowMs = 6000;
  const keys = Object.entries(limits).map(([name, rpm]) => auto(name, rpm));
  const place = await createPlace({
    providers: { privatemind: { windowMs, keys, scenario: { latencyMs: { min: 2, max: 10 } } } },
  });
  // About three windows.
  const ids = writeLines(place, plainLines(2800));
  const sampled = Object.fromEntries(keys.map(({ name }) => [name, [] as number[]]));
  const running = place.start(['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '100']);
  await place.untilCalls(1, running);
  const startedAtMs = performance.now();
  let isOver = false;
  void running.ended.then(() => (isOver = true));
  // What each key has answered at the end of each window.
  for (let window = 1; !isOver; window += 1) {
    await waitFor(() => isOver || performance.now() - startedAtMs >= window * windowMs, { timeoutMs: 2 * windowMs });
    if (isOver) break;
    for (const [name, truth] of Object.entries(place.truth().keys)) sampled[name]?.push(truth.answered);
  }
  const ended = await endOf(running);
  expectExit(ended, 0);
  expect(readResults(place, ids).errors).toEqual([]);

  const truth = place.truth();
  const standings = await readKeys(place);
  console.log(JSON.stringify(sampled), JSON.stringify(standings), JSON.stringify(Object.fromEntries(Object.entries(truth.keys).map(([n,k])=>[n,[k.rejected429,k.maxInWindow,k.calls]]))));
  const rows = readAttempts(place) as unknown as { key_name: string; outcome: string; started_at: string; duration_ms: number }[];
  const t0 = Date.parse(rows[0]!.started_at);
  console.log(rows.filter((row) => row.outcome !== 'completed').map((row) => `${row.key_name} ${Date.parse(row.started_at) - t0} ${row.duration_ms}`).join('\n'));
  for (const [name, limit] of Object.entries(limits)) {
    expect(truth.keys[name]?.rejected429, name).toBeLessThanOrEqual(2);
    expect(truth.keys[name]?.maxInWindow, name).toBeLessThanOrEqual(limit);
    // The windows after the first.
    const answered = sampled[name] ?? [];
    const used = ((answered.at(-1) ?? 0) - (answered[0] ?? 0)) / ((answered.length - 1) * limit);
    expect(used, `${name}: ${answered.join(', ')}`).toBeGreaterThanOrEqual(0.9);
  }
  expect(standings['narrow']?.learnt).toMatchObject({ sure: true });
  expect(standings['narrow']?.learnt?.top).toBeGreaterThan(60 * 0.95);
  expect(standings['narrow']?.learnt?.top).toBeLessThanOrEqual(60 * 1.05);
  expect(standings['middle']?.learnt?.top).toBeGreaterThan(300 * 0.95);
  expect(standings['middle']?.learnt?.top).toBeLessThanOrEqual(300 * 1.05);
  // Nobody gives more than 600: there is nothing to run into.
  expect(truth.keys['wide']?.rejected429).toBeLessThanOrEqual(1);
  expect((await place.nightshift(['keys', '--no-color'])).stdout).toMatch(/narrow .* ≈(5[7-9]|6[0-3]) /);

  const before = truth.totals.rejected429;
  writeLines(place, plainLines(700), 'second.jsonl');
  const second = await place.nightshift(['run', 'second.jsonl', '--out', 'out', '--json', '--concurrency', '100']);
  expectExit(second, 0);
  expect(summaryOf(second).counts).toEqual({ total: 700, completed: 700, failed: 0 });
  expect(place.truth().totals.rejected429 - before).toBeLessThanOrEqual(1);
});

test('another user of a key lowers the limit that is used; when that one leaves, it recovers', async () => {
  const rpm = 60;
  const windowMs = 1500;
  const place = await createPlace({
    providers: { privatemind: { windowMs, keys: [{ name: 'shared', rpm }], scenario: { latencyMs: 5 } } },
  });
  const ids = writeLines(place, plainLines(460));
  const running = place.start(['run', 'in.jsonl', '--out', 'out', '--log-level', 'info']);
  await place.untilCalls(60, running);

  // Takes whatever is free, again and again, until the batch has been refused.
  const body = JSON.stringify({ model: 'fast', messages: [{ role: 'user', content: 'Me, too.' }], max_tokens: 5 });
  let taken = 0;
  let refused = 0;
  const takeOne = async () => {
    const response = await request(`${place.simulator.baseUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${place.secretOf('shared')}` },
      body,
    });
    await response.body.dump();
    if (response.statusCode === 200) taken += 1;
    else refused += 1;
  };
  await waitFor(
    async () => {
      await takeOne();
      return (place.truth().keys['shared']?.rejected429 ?? 0) - refused >= 1 && taken >= 30;
    },
    { timeoutMs: 15_000, what: 'the two have got into each other\u2019s way' },
  );
  const crowded = (await readKeys(place))['shared'];
  expect(crowded?.learnt?.rpm).toBeLessThan(rpm);

  expectExit(await endOf(running), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  const truth = place.truth();
  expect(truth.keys['shared']?.maxInWindow).toBeLessThanOrEqual(rpm);
  // Alone again it is refused no more, and comes back to what it may.
  expect((truth.keys['shared']?.rejected429 ?? 0) - refused).toBeLessThanOrEqual(12);
  expect(readFileSync(place.file('out/in.output.jsonl'), 'utf8')).toContain('line-459');
});
