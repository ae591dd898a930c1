/** A batch in a real Redis with real files in a directory of its own, for the tests of what produces and collects. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, onTestFinished } from 'vitest';
import { createBatch, loadBatch, moveBatch, newBatchId, type BatchRecord } from '../../src/batch/batch.ts';
import { openCollector, type Collector } from '../../src/batch/collector.ts';
import type { TestRedis } from '../support/redis.ts';

export type Result = { to: 'o' | 'e'; text: string };

/** One directory per test file; call it at the top. */
export function testDirectory(): (name: string) => string {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'nightshift-batch-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));
  return (name) => path.join(directory, name);
}

export type BatchWorld = {
  batchId: string;
  record: () => Promise<BatchRecord>;
  /** As settle.lua ends a line: done bit, result, counter. */
  end: (line: number, result?: Result) => Promise<void>;
  /** Results without lines, in one go. */
  add: (results: Result[]) => Promise<void>;
  lease: (token: string) => Promise<void>;
  /** As a process that has just taken the lease does. */
  collector: (token?: string) => Promise<Collector>;
  files: () => Promise<{ output: string; errors: string }>;
};

export async function createBatchWorld(
  { client, names, url }: TestRedis,
  at: (name: string) => string,
  options: { total?: number; name?: string } = {},
): Promise<BatchWorld> {
  const batchId = newBatchId();
  const file = (suffix: string) => at(`${batchId}.${suffix}`);
  const blocking = new Redis(url);
  onTestFinished(() => blocking.disconnect());
  await createBatch(client, names, batchId, {
    name: options.name ?? batchId,
    inputFile: file('jsonl'),
    outputFile: file('output.jsonl'),
    errorFile: file('errors.jsonl'),
    manifestFile: file('manifest.json'),
    inputSha256: 'e3b0c442',
    inputMark: '0 0 0',
    ledgerId: 'ledger',
    total: options.total ?? 100,
    options: { model: null, attempts: 5, deadlineMs: 60_000, skipInvalid: false, pinModels: false, ordered: false },
    budgetNanoUsd: null,
  });
  await moveBatch(client, names, batchId, { from: ['validating'], to: 'in_progress' });

  async function record(): Promise<BatchRecord> {
    const loaded = await loadBatch(client, names, batchId);
    if (!loaded) throw new Error('the batch is gone');
    return loaded;
  }
  async function add(results: Result[]): Promise<void> {
    const pipeline = client.pipeline();
    for (const { to, text } of results) pipeline.xadd(names.results(batchId), '*', 't', to, 'l', '1', 'r', text);
    await pipeline.exec();
  }
  let epoch = 0;
  const lease = async (token: string) => {
    epoch += 1;
    const last = `${epoch} ${token}`;
    await client.multi().set(names.lease(batchId), token).set(names.lastHolder(batchId), last).exec();
  };
  return {
    batchId,
    record,
    add,
    lease,
    async end(line, result = { to: 'o', text: `{"line":${line}}` }) {
      if ((await client.setbit(names.done(batchId), line, 1)) === 1) return;
      await client.hincrby(names.batch(batchId), result.to === 'o' ? 'completed' : 'failed', 1);
      await add([result]);
    },
    async collector(token = 'test 1 lease') {
      await lease(token);
      const { outputFile, errorFile, collected } = await record();
      const collector = await openCollector({
        redis: client,
        blocking,
        names,
        batchId,
        files: { outputFile, errorFile },
        lease: { token, epoch },
        commit: collected,
      });
      onTestFinished(() => collector.close().catch(() => {}));
      return collector;
    },
    async files() {
      const { outputFile, errorFile } = await record();
      const [output, errors] = await Promise.all([readFile(outputFile, 'utf8'), readFile(errorFile, 'utf8')]);
      return { output, errors };
    },
  };
}

/** What the files must hold. */
export function expectedFiles(results: Result[]): { output: string; errors: string } {
  const linesOf = (to: Result['to']) => results.map((one) => (one.to === to ? `${one.text}\n` : '')).join('');
  return { output: linesOf('o'), errors: linesOf('e') };
}

export async function collectAll(collector: Collector): Promise<void> {
  while ((await collector.collectOnce(0)) > 0);
}
