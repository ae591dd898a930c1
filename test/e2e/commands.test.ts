import { expect, test } from 'vitest';
import { createWorld, endOf, expectExit, readManifest, writeInput } from './support.ts';

test('status, keys and usage tell of a batch while it runs and when it is over', async () => {
  const world = await createWorld({
    keys: [
      { name: 'alpha', rpm: 1000 },
      { name: 'beta', configured: { budgetUsd: 5 } },
    ],
    scenario: { latencyMs: 100 },
  });
  writeInput(world, { count: 150 });
  const running = world.start(['run', 'in.jsonl', '--out', 'out', '--concurrency', '4']);
  await world.untilCalls(10, running);
  const ask = async (...args: string[]) => {
    const ended = await world.nightshift(args);
    expectExit(ended, 0);
    return ended;
  };
  const asJson = async (...args: string[]) => JSON.parse((await ask(...args, '--json')).stdout) as unknown;

  // One after the other: three at once would take the processors from the run.
  const during = (await asJson('status', 'in')) as { request_counts: { total: number; completed: number } };
  expect(during).toMatchObject({ name: 'in', status: 'in_progress', request_counts: { total: 150, failed: 0 } });
  const keysDuring = await asJson('keys');
  expect(keysDuring).toMatchObject([
    { name: 'alpha', standing: 'active', limits: { rpm: 1000, windowMs: 3000 } },
    { name: 'beta', standing: 'active', limits: { rpm: null }, budgetUsd: 5 },
  ]);
  expectExit(await endOf(running), 0);

  expect((await ask('status')).stdout).toMatch(/in +completed +150 +150 +0/);
  expect((await ask('status', 'in')).stdout).toMatch(/150 of 150 lines.*status +completed/s);
  const [after] = (await asJson('status')) as Record<string, unknown>[];
  expect(after).toMatchObject({ status: 'completed', request_counts: { total: 150, completed: 150, failed: 0 } });
  expect(after?.['id']).toBe(readManifest(world).batchId);

  const { keys, totals } = world.truth();
  const listed = (await asJson('keys')) as { name: string; spentUsd: number; inFlight: number; keyId: string }[];
  for (const { name, spentUsd, inFlight } of listed) {
    expect({ spentUsd, inFlight }).toEqual({ spentUsd: (keys[name]?.costNanoUsd ?? 0) / 1e9, inFlight: 0 });
  }
  const table = (await ask('keys')).stdout;
  for (const { name, keyId } of listed) expect(table).toMatch(new RegExp(`${name} +${keyId} +active`));

  expect((await ask('usage')).stdout).toMatch(/alpha.*beta.*Total +150 +150 +0/s);
  const usage = JSON.stringify(await asJson('usage', '--by', 'model'));
  expect(usage).toContain('qwen3-30b-instruct');
  expect(usage).toContain(String(totals.costNanoUsd));
});

test('without a batch the commands say so', async () => {
  const world = await createWorld();
  const status = await world.nightshift(['status']);
  expectExit(status, 0);
  expect(status.stderr).toContain('No batch yet');
  const json = await world.nightshift(['status', '--json']);
  expect(JSON.parse(json.stdout)).toEqual([]);
  const unknown = await world.nightshift(['status', 'nothing']);
  expectExit(unknown, 2);
  expect(unknown.stderr).toContain('no batch "nothing"');
  const resume = await world.nightshift(['resume']);
  expectExit(resume, 2);
  expect(resume.stderr).toContain('there is no batch yet');
});
