import { expect, test } from 'vitest';
import { loadBatch } from '../../src/batch/batch.ts';
import { testRedis } from '../support/redis.ts';
import {
  createWorld,
  expectExit,
  ledgerAndTruth,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
} from './support.ts';

const { url, client, names, namespace } = testRedis();
const concurrency = 20;
const org = 'sim-org';

test('an exhausted organisation stops the batch at once, and one command resumes it', async () => {
  const keys = ['a', 'b', 'c'];
  const world = await createWorld({
    keys: keys.map((name) => ({ name })),
    scenario: { events: [{ afterCalls: 100, do: { change: 'set_org_budget', org, budgetUsd: 0.000001 } }] },
  });
  const ids = writeInput(world, { count: 300 });
  const flags = ['--json', '--concurrency', String(concurrency)];
  const stopped = await world.nightshift(['run', 'in.jsonl', '--out', 'out', ...flags]);
  expectExit(stopped, 3);
  expect(summaryOf(stopped)).toMatchObject({ status: 'paused', stoppedBy: { code: 'budget' } });
  expect(stopped.stderr).toContain('nightshift resume');
  expect(readManifest(world)).toMatchObject({ status: 'paused', stoppedBy: { code: 'budget' } });
  // Everything after the first 402 was in flight with it.
  expect(world.truth().orgs[org]?.callsAfterOrgCap).toBeLessThan(concurrency);
  expect(world.truth().totals.statuses['402']).toBeGreaterThan(0);

  // Whoever resumes too early is told so, for the price of one try a key.
  const before = world.truth().totals.calls;
  const tooEarly = await world.nightshift(['resume', ...flags]);
  expectExit(tooEarly, 3);
  expect(summaryOf(tooEarly)).toMatchObject({ status: 'paused', stoppedBy: { code: 'budget' } });
  const tries = world.truth().totals.calls - before;
  expect(tries).toBeGreaterThan(0);
  expect(tries).toBeLessThanOrEqual(keys.length);

  world.simulator.control({ change: 'set_org_budget', org, budgetUsd: 100 });
  const resumed = await world.nightshift(['resume', ...flags]);
  expectExit(resumed, 0);
  expect(summaryOf(resumed)).toMatchObject({ status: 'completed', stoppedBy: null });
  expect(readResults(world, ids).errors).toEqual([]);
  expect(readManifest(world)).toMatchObject({ status: 'completed', stoppedBy: null });
  const { ledger, provider } = ledgerAndTruth(world);
  expect(ledger).toEqual(provider);
});

test('an organisation whose cap returns after the deadline is resumed all the same: the deadline counts anew', async () => {
  const dayMs = 86_400_000;
  const world = await createWorld({
    keys: [{ name: 'a' }],
    redisUrl: url,
    config: { namespace, deadlineMs: dayMs },
    scenario: { events: [{ afterCalls: 30, do: { change: 'set_org_budget', org, budgetUsd: 0.000001 } }] },
  });
  const ids = writeInput(world, { count: 120 });
  const stopped = await world.nightshift(['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '5']);
  expectExit(stopped, 3);
  const { batchId, counts } = summaryOf(stopped);
  // As if it had been begun two days ago.
  await client.hincrby(names.batch(batchId), 'createdAt', -2 * dayMs);
  world.simulator.control({ change: 'set_org_budget', org, budgetUsd: 100 });

  const resumed = await world.nightshift(['resume', '--json']);
  expectExit(resumed, 0);
  expect(summaryOf(resumed)).toMatchObject({ status: 'completed', counts: { total: 120, completed: 120, failed: 0 } });
  expect(counts.completed).toBeLessThan(120);
  expect(readResults(world, ids).errors).toEqual([]);
  // It has one still, and the other options are as they were.
  const { options } = (await loadBatch(client, names, batchId)) ?? expect.unreachable('the batch is gone');
  expect(options.deadlineMs).toBeGreaterThanOrEqual(3 * dayMs);
  expect(options.deadlineMs).toBeLessThan(4 * dayMs);
  expect(options).toMatchObject({ model: null, attempts: 5, skipInvalid: false, priority: 'normal' });
});
