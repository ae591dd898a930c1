/** A held line's answer belongs to the key that it was sent with, whichever key asks for it. */
import { expect, onTestFinished, test } from 'vitest';
import { createLanes } from '../../workers/lanes.ts';
import { runLine } from '../../workers/line.ts';
import { createSeats } from '../../workers/seats.ts';
import { startUpstream } from '../provider/upstream.ts';
import { testRedis } from '../support/redis.ts';
import { startBatch } from './running-batch.ts';
import { startSmallWorkers } from './small-worker.ts';

const redis = testRedis();

const completion = {
  model: 'gpt-5-mini',
  choices: [{ message: { role: 'assistant', content: 'You may.' } }],
  usage: { prompt_tokens: 7, completion_tokens: 3, cost_usd: 0.002 },
};

/** A worker whose gateway has approved of every held line, with this completion. */
async function startApproved(response: object) {
  const upstream = await startUpstream((answer) => {
    answer.end(JSON.stringify({ status: 'approved', response }));
  });
  onTestFinished(() => upstream[Symbol.asyncDispose]());
  const env = { CM_API_KEY: 'cm_sk_the_key_that_asks', CM_BASE_URL: upstream.provider.baseUrl };
  const { names, workers } = await startSmallWorkers(redis.url, 1, env);
  const { ctx } = workers[0]!;
  const batch = await startBatch(ctx.redis, names);
  const lanes = createLanes(ctx.acquire, createSeats(1), { longestWaitMs: 1000, outdatedAfterMs: 10_000 });
  return {
    ctx,
    names,
    batch,
    /** Line 1, which this key has sent. */
    end: async (keyId: string) => {
      const held = { approvalId: 'approval-1', keyId, attemptId: `${batch.batchId}-1.one` };
      const start = { ctx, lanes, batch, line: 1, attemptsSpent: 0, held };
      expect(await runLine(start, '{"prompt":"May I?"}')).toEqual({ tag: 'ended' });
    },
    spent: (keyId: string) => ctx.redis.hget(names.key(keyId), 'spent'),
  };
}

test('an approval that another key asks about is booked on the key that it was sent with, money and ledger row alike', async () => {
  const { ctx, names, batch, end, spent } = await startApproved(completion);
  // The key that it was sent with has left the configuration since.
  const keyId = '0123456789ab';
  await ctx.redis.hset(names.key(keyId), { name: 'gone', provider: 'first-gateway' });
  await end(keyId);
  const [[, fields] = ['', []]] = await ctx.redis.xrange(names.ledger(batch.batchId), '-', '+');
  const row = JSON.parse(String(fields[1])) as Record<string, unknown>;
  const costNanoUsd = 2_000_000;
  expect(row).toMatchObject({ keyId, keyName: 'gone', provider: 'first-gateway', outcome: 'completed', costNanoUsd });
  expect(await spent(keyId)).toBe(String(costNanoUsd));
});

test('an approved completion that does not name its cost is priced as any other', async () => {
  const { cost_usd: _, ...usage } = completion.usage;
  const { ctx, end, spent } = await startApproved({ ...completion, usage });
  ctx.config.prices[completion.model] = { inputUsdPerMTok: 1, outputUsdPerMTok: 2 };
  const { keyId } = ctx.keyring.keys[0]!;
  await end(keyId);
  expect(await spent(keyId)).toBe('13000');
});

test('an approved completion that names neither cost nor usage is spent by its estimate, and unsure', async () => {
  const { usage: _, ...silent } = completion;
  const { ctx, names, batch, end, spent } = await startApproved(silent);
  ctx.config.prices[completion.model] = { inputUsdPerMTok: 1, outputUsdPerMTok: 2 };
  const { keyId } = ctx.keyring.keys[0]!;
  await end(keyId);
  const costNanoUsd = '8209000';
  expect(await spent(keyId)).toBe(costNanoUsd);
  const ofBatch = await ctx.redis.hmget(names.batch(batch.batchId), 'spent', 'unsure', 'completed');
  expect(ofBatch).toEqual([costNanoUsd, costNanoUsd, '1']);
  const [[, fields] = ['', []]] = await ctx.redis.xrange(names.ledger(batch.batchId), '-', '+');
  expect(JSON.parse(String(fields[1]))).toMatchObject({ costNanoUsd: null, costSource: 'none' });
  // Whoever asks again, after a crash or beside this one, books nothing more.
  await end(keyId);
  expect(await spent(keyId)).toBe(costNanoUsd);
});

test('without a price nothing is taken for spent', async () => {
  const { usage: _, ...silent } = completion;
  const { ctx, names, batch, end } = await startApproved(silent);
  await end(ctx.keyring.keys[0]!.keyId);
  const ofBatch = await ctx.redis.hmget(names.batch(batch.batchId), 'spent', 'unsure', 'completed');
  expect(ofBatch.map(Number)).toEqual([0, 0, 1]);
});
