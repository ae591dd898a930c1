/** An answer in hand is settled whatever Redis replies, as long as that may pass. */
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { createSettle, type Settle, type SettleRequest } from '../../src/keys/settle.ts';
import { createLog } from '../../src/log.ts';
import { createNames } from '../../src/redis/names.ts';
import { explainRedisError } from '../../src/redis/trouble.ts';
import { settleSurely, type Settling } from '../../workers/settling.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { waitFor } from '../support/wait.ts';

const names = createNames('settling');
const end = { to: 'output', text: '{"answer":1}', errorCode: null, inputTokens: 1, outputTokens: 1 } as const;
const request = (line: number): SettleRequest => ({ batchId: 'b1', line, call: null, end });

type Said = { level: number; error?: string };
const errorLevel = 50;

/** A Redis of the test's own, which is to refuse, and what a worker that settles there says. */
async function startSettling(options: Partial<Settling> = {}) {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  const [redis, admin] = [new Redis(server.url), new Redis(server.url)];
  onTestFinished(() => [redis, admin].forEach((one) => one.disconnect()));
  const said: Said[] = [];
  const log = createLog('debug', { write: (text) => void said.push(JSON.parse(text) as Said) });
  const bare = createSettle({ redis, names });
  const settle: Settle = settleSurely(bare, { log, giveUp: new AbortController().signal, ...options });
  return { admin, bare, settle, said, errors: () => said.filter(({ level }) => level >= errorLevel) };
}

test('answers that come while too few replicas are there are settled when they are back', async () => {
  const { admin, bare, settle, said, errors } = await startSettling();
  await admin.config('SET', 'min-replicas-to-write', '1');
  const refusal: unknown = await bare(request(1)).catch((error: unknown) => error);
  expect(explainRedisError(refusal)).toMatchObject({ code: 'redis', message: expect.stringContaining('NOREPLICAS') });
  const settled = Promise.all([settle(request(1)), settle(request(2))]);
  await waitFor(() => said.length >= 2, { what: 'both were refused' });
  await admin.config('SET', 'min-replicas-to-write', '0');
  expect(await settled).toMatchObject([{ ended: true }, { ended: true }]);
  expect(errors()).toEqual([]);
});

test('answers that meet a reply nobody knows are settled when it has passed, and one error is logged', async () => {
  const { admin, settle, said, errors } = await startSettling();
  await admin.rpush(names.done('b1'), 'no bitmap');
  const settled = Promise.all([settle(request(1)), settle(request(2))]);
  await waitFor(() => said.length >= 2, { what: 'both were refused' });
  await admin.del(names.done('b1'));
  expect(await settled).toMatchObject([{ ended: true }, { ended: true }]);
  expect(errors()).toHaveLength(1);
  expect(errors()[0]?.error).toContain('WRONGTYPE');
});

test('an answer that Redis refuses does not take those with it that travel in the same call', async () => {
  const { admin, settle } = await startSettling({ unexplainedForMs: 3000 });
  await admin.rpush(names.done('b2'), 'no bitmap');
  const refused = settle({ ...request(1), batchId: 'b2' });
  const others = Promise.all([1, 2, 3, 4].map((line) => settle(request(line))));
  await expect(refused).rejects.toThrow('WRONGTYPE');
  expect((await others).every(({ ended }) => ended)).toBe(true);
});

test('what does not pass is given up after a while', async () => {
  const { admin, settle, errors } = await startSettling({ unexplainedForMs: 1 });
  await admin.rpush(names.done('b1'), 'no bitmap');
  await expect(settle(request(1))).rejects.toThrow('WRONGTYPE');
  expect(errors().length).toBeGreaterThan(0);
});
