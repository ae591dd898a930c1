/** Workers that hold different keys: each serves what it has, and leaves the rest to whoever has it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { startRedisServer } from '../support/redis-server.ts';
import { createPlace, readAttempts, tally, writeLines, type Place } from './place.ts';
import { endOf, expectExit, ledgerAndTruth, readResults, summaryOf } from './support.ts';

async function setup() {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  return createPlace({
    providers: { privatemind: { keys: [{ name: 'pm' }] }, 'curate-me': { keys: [{ name: 'cm' }] } },
    config: { aliases: { 'curate-me': { fast: 'gpt-5-mini' } }, redisUrl: server.url },
  });
}

/** A worker that knows one key of the place only. */
async function startWorker(place: Place, key: string) {
  const config = JSON.parse(readFileSync(place.file('nightshift.config.json'), 'utf8')) as { keys: { name: string }[] };
  const file = place.file(`${key}.config.json`);
  writeFileSync(file, JSON.stringify({ ...config, keys: config.keys.filter(({ name }) => name === key) }));
  const worker = place.start(['worker', '--concurrency', '10', '--config', file]);
  await worker.waitForOutput(/Worker .* 10 calls at once/);
  return worker;
}

async function stopWorkers(workers: Awaited<ReturnType<typeof startWorker>>[]) {
  for (const worker of workers) worker.child.kill('SIGTERM');
  for (const worker of workers) expectExit(await endOf(worker), 0);
}

const run = ['run', 'in.jsonl', '--out', 'out', '--no-worker', '--json'];

test('models that only one worker’s key offers are answered by that worker, none is rejected', async () => {
  const place = await setup();
  const models = ['gpt-5-mini', 'qwen3-30b-instruct', 'fast'];
  const lines = Array.from({ length: 90 }, (_, index) => ({ id: `l${index}`, model: models[index % 3]! }));
  const ids = writeLines(place, lines);
  const workers = [await startWorker(place, 'pm'), await startWorker(place, 'cm')];
  expectExit(await place.nightshift(run), 0);
  await stopWorkers(workers);
  expect(readResults(place, ids).errors).toEqual([]);
  const byModel = tally(readAttempts(place).map((row) => `${row.resolved_model} ${row.key_name}`));
  expect(byModel['gpt-5-mini pm']).toBeUndefined();
  expect(byModel['qwen3-30b-instruct cm']).toBeUndefined();
  const { ledger, provider } = ledgerAndTruth(place);
  expect(ledger).toEqual(provider);
});

test('a worker whose only key is revoked does not stop a batch that another worker can serve', async () => {
  const place = await setup();
  const ids = writeLines(
    place,
    Array.from({ length: 120 }, (_, index) => ({ id: `l${index}`, model: 'fast' })),
  );
  const workers = [await startWorker(place, 'pm'), await startWorker(place, 'cm')];
  const running = place.start(run);
  await place.untilCalls(30, running);
  place.control('privatemind', { change: 'revoke_key', key: 'pm' });
  expectExit(await endOf(running), 0);
  await stopWorkers(workers);
  expect(readResults(place, ids).errors).toEqual([]);
});

test('when no worker’s key is left the batch stops, and says so', async () => {
  const place = await setup();
  writeLines(
    place,
    Array.from({ length: 400 }, (_, index) => ({ id: `l${index}`, model: 'fast' })),
  );
  const workers = [await startWorker(place, 'pm'), await startWorker(place, 'cm')];
  const running = place.start(run);
  await place.untilCalls(30, running);
  place.control('privatemind', { change: 'revoke_key', key: 'pm' });
  place.control('curate-me', { change: 'revoke_key', key: 'cm' });
  const ended = await endOf(running);
  expectExit(ended, 4);
  expect(summaryOf(ended)).toMatchObject({ status: 'paused', stoppedBy: { code: 'credentials' } });
  await stopWorkers(workers);
});

test('an organisation’s 402 closes the keys that only other workers hold', async () => {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  const place = await createPlace({
    // One call of the second key, and then none for a minute.
    providers: { privatemind: { windowMs: 60_000, keys: [{ name: 'a' }, { name: 'b', rpm: 1 }] } },
    config: { redisUrl: server.url },
  });
  writeLines(
    place,
    Array.from({ length: 400 }, (_, index) => ({ id: `l${index}`, model: 'fast' })),
  );
  const workers = [await startWorker(place, 'a'), await startWorker(place, 'b')];
  const running = place.start(run);
  await place.untilCalls(60, running);
  place.control('privatemind', { change: 'set_org_budget', org: 'sim-org', budgetUsd: 0.000001 });
  const ended = await endOf(running);
  expectExit(ended, 3);
  expect(summaryOf(ended)).toMatchObject({ status: 'paused', stoppedBy: { code: 'budget' } });
  expect(place.truth().keys['b']?.calls).toBeLessThanOrEqual(1);
  await stopWorkers(workers);
});

test('a worker without keys of a provider that the batch was begun with leaves its lines to a later worker', async () => {
  const place = await setup();
  const ids = writeLines(
    place,
    Array.from({ length: 40 }, (_, index) => ({ id: `l${index}`, model: 'qwen3-30b-instruct' })),
  );
  const early = await startWorker(place, 'cm');
  const running = place.start(run);
  // Its queue is filled, and the early worker takes what is there.
  await running.waitForOutput(/of 40 lines/);
  const late = await startWorker(place, 'pm');
  expectExit(await endOf(running), 0);
  await stopWorkers([early, late]);
  expect(readResults(place, ids).errors).toEqual([]);
});
