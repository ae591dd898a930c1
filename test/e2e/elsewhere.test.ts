/** One Redis, several data directories, each with a ledger of its own: whose sums are told, and what is refused. */
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createNames } from '../../src/redis/names.ts';
import { entry } from '../ledger/entries.ts';
import { startRedisServer, type TestServer } from '../support/redis-server.ts';
import {
  createWorld,
  endOf,
  expectExit,
  readLedger,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
  type Manifest,
  type World,
  type WorldPlan,
} from './support.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startRedisServer();
});
afterAll(() => server.stop());

const run = ['run', 'in.jsonl', '--out', 'out', '--json'];
const elsewhere = ['--data', 'else'];

async function place(namespace: string, plan: WorldPlan = {}) {
  const client = new Redis(server.url);
  onTestFinished(() => client.disconnect());
  const world = await createWorld({ ...plan, redisUrl: server.url, config: { namespace } });
  return { world, client, names: createNames(namespace) };
}

/** What the provider has billed. */
function billedUsd(world: World): number {
  return Object.values(world.truth().keys).reduce((sum, { costNanoUsd }) => sum + costNanoUsd, 0) / 1e9;
}

/** A batch of 120 lines that was begun and then interrupted. */
async function interrupted(world: World): Promise<string[]> {
  const ids = writeInput(world, { count: 120 });
  const running = world.start([...run, '--concurrency', '5']);
  await world.untilCalls(20, running);
  running.child.kill('SIGINT');
  expectExit(await endOf(running), 130);
  return ids;
}

test('of a finished batch no other data directory touches the manifest or takes rows, and each tells what it cost', async () => {
  const { world, client, names } = await place('finished');
  writeInput(world, { count: 20 });
  const first = summaryOf(await world.nightshift(run));
  expect(first.costUsd).toBeGreaterThan(0);
  const manifest = () => readFileSync(world.file('out/in.manifest.json'), 'utf8');
  const before = manifest();
  // As after a disk that was full at the end.
  const { batchId } = first;
  await client.xadd(
    names.ledger(batchId),
    '*',
    'e',
    JSON.stringify(entry({ batchId, attemptId: `${batchId}-1.late` })),
  );
  for (const command of [run, ['resume', 'in', '--json'], ['cancel', 'in', '--json']]) {
    const again = await world.nightshift([...command, ...elsewhere]);
    expectExit(again, 0);
    expect(summaryOf(again)).toMatchObject({ status: 'completed', costUsd: first.costUsd });
    expect(again.stderr).toContain(`is in another data directory, ${world.file('.nightshift')} (on `);
    expect(manifest()).toBe(before);
    // Nor is anything made there.
    expect(existsSync(world.file('else'))).toBe(false);
    expect(await client.xlen(names.ledger(batchId))).toBe(1);
  }
  const retried = await world.nightshift(['retry', 'in', ...elsewhere]);
  expectExit(retried, 2);
  expect(retried.stderr).toContain(`the ledger of in is in ${world.file('.nightshift')}, and `);
  expect(manifest()).toBe(before);

  // Without the manifest there is still what Redis counted.
  renameSync(world.file('out/in.manifest.json'), world.file('away'));
  const counted = await world.nightshift(['cancel', 'in', '--json', ...elsewhere]);
  expect(summaryOf(counted)).toMatchObject({ costUsd: first.costUsd, possiblyBilled: 0 });
  expect(existsSync(world.file('out/in.manifest.json'))).toBe(false);
  renameSync(world.file('away'), world.file('out/in.manifest.json'));

  // The directory that it was begun with takes the row that waited.
  const home = summaryOf(await world.nightshift(run));
  expect(home.costUsd).toBeCloseTo(first.costUsd + 0.004213, 9);
  expect((JSON.parse(manifest()) as Summed).costUsd).toBe(home.costUsd);
});

type Summed = Manifest & { costUsd: number; otherLedgers?: string[] };

test('an unfinished batch is not gone on with beside its ledger, and what stops it stops it all the same', async () => {
  const { world } = await place('unfinished');
  const ids = await interrupted(world);
  const { calls } = world.truth().totals;
  const refuse = async (command: string[]) => {
    const refused = await world.nightshift([...command, ...elsewhere]);
    expectExit(refused, 2);
    expect(refused.stderr).toContain(`the ledger of in is in ${world.file('.nightshift')}, and `);
    expect(refused.stderr).toContain('--data');
    // Nor is anything made there.
    expect(existsSync(world.file('else'))).toBe(false);
  };
  await refuse(run);
  await refuse(['resume', 'in']);
  expect(world.truth().totals.calls).toBe(calls);
  await refuse(['cancel', 'in']);
  const status = await world.nightshift(['status', 'in', '--json']);
  expect(JSON.parse(status.stdout)).toMatchObject({ status: 'cancelling' });

  const cancelled = await world.nightshift(['cancel', 'in', '--json']);
  expectExit(cancelled, 0);
  expect(summaryOf(cancelled).costUsd).toBeCloseTo(billedUsd(world), 9);
  expect((readManifest(world) as Summed).costUsd).toBe(summaryOf(cancelled).costUsd);
  expect(readManifest(world)).not.toHaveProperty('otherLedgers');
  readResults(world, ids);
});

test('a batch whose data directory is lost goes on in another, which says that a part of the ledger is not there', async () => {
  const { world } = await place('lost');
  const ids = await interrupted(world);
  renameSync(world.file('.nightshift'), world.file('gone'));
  const ended = await world.nightshift([...run, ...elsewhere]);
  expectExit(ended, 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const lost = world.file('.nightshift');
  expect(ended.stderr).toMatch(/a part of the ledger of in is not here/);
  expect(ended.stderr).toContain(lost);

  // The money is known to Redis as a whole; the rest is that of this ledger, and says so.
  const manifest = readManifest(world) as Summed;
  expect(manifest.costUsd).toBeCloseTo(billedUsd(world), 9);
  expect(summaryOf(ended).costUsd).toBe(manifest.costUsd);
  expect(manifest.otherLedgers).toEqual([expect.stringContaining(lost)]);
  expect(manifest.attempts.total).toBeLessThan(world.truth().totals.calls);
  const rows = (data: string) => readLedger(world, data).reduce((sum, { calls }) => sum + calls, 0);
  expect(rows('gone') + rows('else')).toBe(world.truth().totals.calls);
});

test('status, manifest and summary tell one cost of a batch, and apart from it what is not known', async () => {
  const { world } = await place('status', { scenario: { faults: [{ kind: 'hang', afterCalls: 30 }] } });
  writeInput(world, { count: 60 });
  const running = world.start([...run, '--concurrency', '10']);
  await world.untilCalls(40, running);
  await running.kill('SIGKILL');
  const cancelled = summaryOf(await world.nightshift(['cancel', 'in', '--json']));
  expect(cancelled.possiblyBilled).toBeGreaterThan(0);
  const status = await world.nightshift(['status', 'in', '--json']);
  const told = JSON.parse(status.stdout) as {
    cost_usd: number;
    possibly_billed: number;
    unknown_cost_up_to_usd: number;
  };
  expect(told.cost_usd).toBe(cancelled.costUsd);
  expect(told.possibly_billed).toBe(cancelled.possiblyBilled);
  expect(told.unknown_cost_up_to_usd).toBeGreaterThan(0);
  expect((await world.nightshift(['status', 'in'])).stdout).toMatch(/\$0\.\d+ \+ up to \$0\.\d+ of unknown cost/);
  expect((await world.nightshift(['status'])).stdout).toMatch(/Cost +Unknown cost/);
});
