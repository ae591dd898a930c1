import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { moveBatch, type BatchRecord } from '../../src/batch/batch.ts';
import { takeFinished } from '../../src/batch/finished.ts';
import { isHeld } from '../../src/batch/lease.ts';
import { testRedis } from '../support/redis.ts';
import { createBatchWorld, testDirectory } from './world.ts';

const redis = testRedis();
const { client, names } = redis;
const at = testDirectory();

const asideOf = ({ errorFile }: BatchRecord) =>
  path.join(path.dirname(errorFile), `.${path.basename(errorFile)}.before-retry`);

/** Empty files, as far as Redis knows; beside them what a retry has begun. */
async function createFinished() {
  const world = await createBatchWorld(redis, at);
  await moveBatch(client, names, world.batchId, { from: ['in_progress'], to: 'completed' });
  const batch = await world.record();
  writeFileSync(batch.outputFile, 'an answer of the retry');
  writeFileSync(batch.errorFile, 'an error that stays');
  writeFileSync(asideOf(batch), '');
  const files = () => [batch.outputFile, batch.errorFile].map((file) => readFileSync(file, 'utf8'));
  return { world, batch, files };
}

describe('a finished batch that is asked for again', () => {
  it('is put right after a crash in the beginning of a retry, and held meanwhile', async () => {
    const { batch, files } = await createFinished();
    await using finished = await takeFinished(client, names, batch);
    expect(finished.isOurs).toBe(true);
    expect(await isHeld(client, names, batch.batchId)).toBe(true);
    expect(files()).toEqual(['', '']);
    await finished[Symbol.asyncDispose]();
    expect(await isHeld(client, names, batch.batchId)).toBe(false);
  });

  it('is left alone while another process holds it, which may begin a retry', async () => {
    const { world, batch, files } = await createFinished();
    await world.lease('elsewhere 7 theirs');
    await using finished = await takeFinished(client, names, batch);
    expect(finished.isOurs).toBe(false);
    expect(finished.batch.status).toBe('completed');
    expect(files()).toEqual(['an answer of the retry', 'an error that stays']);
    await finished[Symbol.asyncDispose]();
    expect(await client.get(names.lease(batch.batchId))).toBe('elsewhere 7 theirs');
  });

  it('is refused when a retry has begun since it was looked at', async () => {
    const { batch, files } = await createFinished();
    await client.hset(names.batch(batch.batchId), { status: 'in_progress' });
    await expect(takeFinished(client, names, batch)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('has just been begun once more'),
    });
    expect(files()).toEqual(['an answer of the retry', 'an error that stays']);
    expect(existsSync(asideOf(batch))).toBe(true);
    expect(await isHeld(client, names, batch.batchId)).toBe(false);
  });
});
