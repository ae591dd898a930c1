/** What is kept of batches in Redis: their records, statuses, done bits, and finding them by name. */
import { describe, expect, it, test } from 'vitest';
import { createBatch, loadBatch, moveBatch, newBatchId, pauseBatch, setBudget } from '../../src/batch/batch.ts';
import { readDoneBits } from '../../src/batch/done-bits.ts';
import { findBatch, listBatches } from '../../src/batch/find.ts';
import { createNames } from '../../src/redis/names.ts';
import { testRedis } from '../support/redis.ts';
import { createBatchWorld, testDirectory } from './world.ts';

const redis = testRedis();
const { client, names, namespace } = redis;
const at = testDirectory();

const batch = {
  name: 'prompts',
  inputFile: '/in/prompts.jsonl',
  outputFile: '/out/prompts.output.jsonl',
  errorFile: '/out/prompts.errors.jsonl',
  manifestFile: '/out/prompts.manifest.json',
  inputSha256: 'ab12',
  inputMark: '1 2 3',
  ledgerId: 'ledger',
  total: 120,
  options: { model: 'fast', attempts: 3, deadlineMs: 5000, skipInvalid: true, pinModels: true, ordered: true },
  budgetNanoUsd: 20_000_000_000,
};

describe('a batch’s record', () => {
  it('comes back as it was made', async () => {
    const batchId = newBatchId();
    await createBatch(client, names, batchId, batch);
    const { options, ledgerId: _, ...fields } = batch;
    expect(await loadBatch(client, names, batchId)).toMatchObject({
      ...fields,
      batchId,
      status: 'validating',
      stop: null,
      counts: { completed: 0, failed: 0 },
      errorCodes: {},
      inputTokens: 0,
      spentNanoUsd: 0,
      possiblyBilled: 0,
      collected: { streamId: '0-0', lines: 0, outputBytes: 0, errorBytes: 0 },
      lowWater: { offset: 0, line: 1, requests: 0 },
    });
    expect((await loadBatch(client, names, batchId))?.options).toMatchObject(options);
  });

  it('holds what is counted while it runs', async () => {
    const batchId = newBatchId();
    await createBatch(client, names, batchId, { ...batch, budgetNanoUsd: null });
    const counted = { completed: 7, failed: 3, 'error:overloaded': 2, 'error:http_400': 1, inputTokens: 50, spent: 9 };
    await client.hset(names.batch(batchId), counted);
    expect(await loadBatch(client, names, batchId)).toMatchObject({
      counts: { completed: 7, failed: 3 },
      errorCodes: { overloaded: 2, http_400: 1 },
      inputTokens: 50,
      spentNanoUsd: 9,
      budgetNanoUsd: null,
    });
    await setBudget(client, names, batchId, 5);
    expect((await loadBatch(client, names, batchId))?.budgetNanoUsd).toBe(5);
  });

  it('is none where there is no batch', async () => {
    expect(await loadBatch(client, names, newBatchId())).toBeNull();
  });

  it('has an id without a hyphen, and another each time', () => {
    const ids = Array.from({ length: 100 }, newBatchId);
    expect(new Set(ids).size).toBe(100);
    for (const id of ids) expect(id).toMatch(/^batch_[0-9a-f]{24}$/);
  });
});

describe('a batch’s status', () => {
  const stop = { code: 'budget', cause: 'the wallet is empty' } as const;

  it('moves only from where it is said to be', async () => {
    const { batchId, record } = await createBatchWorld(redis, at);
    const move = (from: 'validating' | 'in_progress', to: 'finalizing') =>
      moveBatch(client, names, batchId, { from: [from], to });
    expect(await move('validating', 'finalizing')).toBe(false);
    expect((await record()).status).toBe('in_progress');
    expect(await move('in_progress', 'finalizing')).toBe(true);
    expect((await record()).status).toBe('finalizing');
  });

  it('is paused once: the first cause stays', async () => {
    const { batchId, record } = await createBatchWorld(redis, at);
    const pauses = [stop, { code: 'provider', cause: 'down' } as const, stop].map((one) =>
      pauseBatch(client, names, batchId, one),
    );
    expect(await Promise.all(pauses)).toEqual([true, false, false]);
    expect(await record()).toMatchObject({ status: 'paused', stop });
    await moveBatch(client, names, batchId, { from: ['paused'], to: 'in_progress', stop: null });
    expect(await record()).toMatchObject({ status: 'in_progress', stop: null });
  });

  it('of no batch does not move, and makes none', async () => {
    const batchId = newBatchId();
    expect(await pauseBatch(client, names, batchId, stop)).toBe(false);
    expect(await client.exists(names.batch(batchId))).toBe(0);
  });
});

describe('done bits', () => {
  test.each([
    [1, 1],
    [1, 25],
    [7, 2],
    [8, 8],
    [15, 3],
    [26, 100],
  ])('of lines from %i on, %i of them, are read alone', async (firstLine, lineCount) => {
    const bitmap = names.done(newBatchId());
    const done = new Set(Array.from({ length: 160 }, (_, line) => line).filter((line) => (line * line) % 3 === 1));
    for (const line of done) await client.setbit(bitmap, line, 1);
    const isDone = await readDoneBits(client, bitmap, { firstLine, lineCount });
    for (let line = firstLine; line < firstLine + lineCount; line += 1) {
      expect(isDone(line), `line ${line}`).toBe(done.has(line));
    }
  });

  it('are not set where nothing was ever done', async () => {
    const isDone = await readDoneBits(client, names.done(newBatchId()), { firstLine: 100_000, lineCount: 10 });
    expect(isDone(100_005)).toBe(false);
  });
});

describe('finding a batch', () => {
  const world = createNames(`${namespace}-find`);
  let created = Date.UTC(2026, 2, 14);
  async function make(name: string, status = 'in_progress'): Promise<string> {
    const batchId = newBatchId();
    await createBatch(client, world, batchId, { ...batch, name, manifestFile: `/out/${batchId}.manifest.json` });
    await client.hset(world.batch(batchId), { status, createdAt: (created += 1000) });
    return batchId;
  }
  const find = (nameOrId: string | null) => findBatch(client, world, nameOrId);

  it('goes by name, id, the start of an id, or the newest that is unfinished', async () => {
    await expect(find(null)).rejects.toMatchObject({ code: 'usage', message: /no batch yet/ });
    await expect(find('a')).rejects.toMatchObject({ code: 'usage', message: /no batch "a"/ });
    const a = await make('a', 'paused');
    const b = await make('b');
    const done = await make('c', 'completed');
    await make('d', 'cancelled');
    expect((await listBatches(client, world)).map(({ name }) => name)).toEqual(['d', 'c', 'b', 'a']);
    expect(await find('a')).toMatchObject({ batchId: a });
    expect(await find(b)).toMatchObject({ name: 'b' });
    expect(await find(done.slice(0, 20))).toMatchObject({ name: 'c' });
    expect(await find(null)).toMatchObject({ name: 'b' });
    // What runs already is passed over, as long as there is another.
    await client.set(world.lease(b), 'elsewhere 7 theirs');
    expect(await find(null)).toMatchObject({ name: 'a' });
    await client.set(world.lease(a), 'elsewhere 7 theirs');
    expect(await find(null)).toMatchObject({ name: 'b' });
    await client.del(world.lease(a), world.lease(b));
    await expect(find('e')).rejects.toMatchObject({ message: /no batch "e".*d, c, b, a/ });
    await expect(find('batch_')).rejects.toMatchObject({ message: /several batches match "batch_"/ });
    await client.hset(world.batch(a), { status: 'completed' });
    await client.hset(world.batch(b), { status: 'completed' });
    await expect(find(null)).rejects.toMatchObject({ code: 'usage', message: /every batch is finished/ });
    // A name before the start of an id; two of one name are told apart by id.
    const named = await make(a.slice(0, 12));
    expect(await find(a.slice(0, 12))).toMatchObject({ batchId: named });
    const twin = await make('a');
    const refused = find('a');
    await expect(refused).rejects.toMatchObject({ code: 'usage', message: new RegExp(`${twin}.*`) });
    await expect(refused).rejects.toMatchObject({ message: new RegExp(`${a}.*`) });
    // A batch whose record is gone is none.
    await client.del(world.batch(b));
    expect((await listBatches(client, world)).map(({ batchId }) => batchId)).not.toContain(b);
    await client.unlink(world.batches, ...(await client.keys(`{${namespace}-find}*`)));
  });
});
