/** Limits that nobody told: found out by running into them once, used, remembered, and shared with others. */
import { request } from 'undici';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../support/wait.ts';
import { createPlace, plainLines, readAttempts, readKeys, type Attempt, writeLines } from './place.ts';
import { endOf, expectExit, readResults, summaryOf, type KeyPlan } from './support.ts';

/** Its limit is the provider's secret. */
const auto = (name: string, rpm: number): KeyPlan => ({
  name,
  simulated: { rpm },
  configured: { rpm: 'auto' },
});

/** How many times its 429s came, those that came together counted as one. */
function eventsOf(refusals: Attempt[], key: string, windowMs: number): number {
  const times = refusals.filter((row) => row.key_name === key).map((row) => Date.parse(row.started_at));
  return times.filter((atMs, index) => atMs - (times[index - 1] ?? 0) > windowMs / 20).length;
}

test('limits of 600, 300 and 60 are found with at most two 429s each, used, shown and remembered', async () => {
  const limits = { wide: 600, middle: 300, narrow: 60 };
  const windowMs = 4000;
  const keys = Object.entries(limits).map(([name, rpm]) => auto(name, rpm));
  const place = await createPlace({
    providers: { privatemind: { windowMs, keys, scenario: { latencyMs: { min: 2, max: 10 } } } },
  });
  // Three windows and a little.
  const ids = writeLines(place, plainLines(3000));
  const sampled = Object.fromEntries(keys.map(({ name }) => [name, [] as number[]]));
  const running = place.start(['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '100']);
  await place.untilCalls(1, running);
  const startedAtMs = performance.now();
  const isOver = () => running.child.exitCode !== null;
  // What each key has answered at the end of each window.
  for (let window = 1; !isOver(); window += 1) {
    await waitFor(() => isOver() || performance.now() - startedAtMs >= window * windowMs, { timeoutMs: 2 * windowMs });
    if (isOver()) break;
    for (const [name, truth] of Object.entries(place.truth().keys)) sampled[name]?.push(truth.answered);
  }
  const ended = await endOf(running);
  expectExit(ended, 0);
  expect(readResults(place, ids).errors).toEqual([]);

  const truth = place.truth();
  const standings = await readKeys(place);
  const refusals = readAttempts(place).filter(({ outcome }) => outcome === 'rate_limited');
  for (const [name, limit] of Object.entries(limits)) {
    // What is on the wire when a 429 comes is refused with it: that is one event.
    expect(eventsOf(refusals, name, windowMs), name).toBeLessThanOrEqual(2);
    expect(truth.keys[name]?.rejected429, name).toBeLessThanOrEqual(12);
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
  expect((await place.nightshift(['keys', '--no-color'])).stdout).toMatch(/narrow .* ≈(5[7-9]|6[0-3]) /);

  const before = truth.totals.rejected429;
  writeLines(place, plainLines(400), 'second.jsonl');
  const second = await place.nightshift(['run', 'second.jsonl', '--out', 'out', '--json', '--concurrency', '100']);
  expectExit(second, 0);
  expect(summaryOf(second).counts).toEqual({ total: 400, completed: 400, failed: 0 });
  expect(place.truth().totals.rejected429 - before).toBeLessThanOrEqual(3);
}, 60_000);

test('another user of a key lowers the limit that is used; when that one leaves, it recovers', async () => {
  const rpm = 40;
  const windowMs = 700;
  const place = await createPlace({
    providers: { privatemind: { windowMs, keys: [{ name: 'shared', rpm }], scenario: { latencyMs: 20 } } },
  });
  const ids = writeLines(place, plainLines(500));
  // A few at a time, so that the first refusal tells how many were accepted before it.
  const running = place.start(['run', 'in.jsonl', '--out', 'out', '--concurrency', '3']);
  await place.untilCalls(rpm, running);
  const shared = () => place.truth().keys['shared'];

  const body = JSON.stringify({ model: 'fast', messages: [{ role: 'user', content: 'Me, too.' }], max_tokens: 5 });
  const headers = { authorization: `Bearer ${place.secretOf('shared')}` };
  // A third of what there is, all the time.
  const url = `${place.simulator.baseUrl}/v1/chat/completions`;
  const theirs = setInterval(() => {
    void request(url, { method: 'POST', headers, body }).then((response) => response.body.dump());
  }, windowMs / 13);
  onTestFinished(() => clearInterval(theirs));
  await waitFor(async () => ((await readKeys(place))['shared']?.learnt?.rpm ?? rpm) < rpm, {
    timeoutMs: 20_000,
    what: 'the two have got into each other\u2019s way',
  });
  clearInterval(theirs);

  const seen: { atMs: number; answered: number }[] = [];
  await waitFor(
    () => {
      const now = { atMs: performance.now(), answered: shared()?.answered ?? 0 };
      seen.push(now);
      while (now.atMs - (seen[0]?.atMs ?? 0) > windowMs) seen.shift();
      return now.answered - (seen[0]?.answered ?? 0) >= rpm * 0.85;
    },
    { timeoutMs: 20_000, what: 'it is used as before' },
  );
  expectExit(await endOf(running), 0);
  expect(readResults(place, ids).errors).toEqual([]);
});
