import { existsSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { keyIdOf } from '../../src/keys/keyring.ts';
import { createWorld, expectExit, readLedger, writeInput, type Ended } from '../e2e/support.ts';
import { testRedis } from '../support/redis.ts';

const { client, names, namespace, url: redisUrl } = testRedis();

type Range = { low: number; high: number };
type Estimate = {
  requests: number;
  promptTokens: Range;
  completionTokens: Range;
  costUsd: Range | null;
  timeMs: Range | null;
  limitedBy: string;
  unpricedRequests: number;
  notOfferedRequests: number;
  invalidLines: number;
  models: (Estimate & { requested: string; resolved: string[]; shortAnswers: string })[];
};
const estimateOf = (ended: Ended) => JSON.parse(ended.stdout) as Estimate;

test('what a batch uses lies within its estimate, which sends nothing and starts no Redis', async () => {
  const world = await createWorld({ keys: [{ name: 'a', rpm: 60 }], config: {} });
  writeInput(world, { count: 80 });
  const first = await world.nightshift(['estimate', 'in.jsonl', '--json']);
  expectExit(first, 0);
  expect(world.truth().totals.calls).toBe(0);
  expect(existsSync(world.file('.nightshift/redis'))).toBe(false);
  const estimate = estimateOf(first);
  // 60 at once, and 20 more in a third of the window of 3 s.
  expect(estimate).toMatchObject({ requests: 80, timeMs: { low: 1000, high: 1000 }, limitedBy: 'requests' });
  expect(estimate.models).toMatchObject([
    { requested: 'fast', resolved: ['qwen3-30b-instruct'], shortAnswers: 'assumed' },
  ]);

  expectExit(await world.nightshift(['run', 'in.jsonl', '--out', 'out']), 0);
  const used = readLedger(world).reduce(
    (sum, row) => ({
      input: sum.input + row.input,
      output: sum.output + row.output,
      usd: sum.usd + row.costNanoUsd / 1e9,
    }),
    { input: 0, output: 0, usd: 0 },
  );
  const expectWithin = (value: number, range: Range | null) => {
    expect(value).toBeGreaterThanOrEqual(range?.low ?? Number.NaN);
    expect(value).toBeLessThanOrEqual(range?.high ?? Number.NaN);
  };
  expectWithin(used.input, estimate.promptTokens);
  expectWithin(used.output, estimate.completionTokens);
  expectWithin(used.usd, estimate.costUsd);

  // Now the ledger knows how long answers are.
  const second = await world.nightshift(['estimate', 'in.jsonl', '--json']);
  expectExit(second, 0);
  expect(estimateOf(second).models[0]?.shortAnswers).toBe('ledger');
  expectWithin(used.output, estimateOf(second).completionTokens);
  expectWithin(used.usd, estimateOf(second).costUsd);
  expect(second.stderr).toContain('those in the ledger');
  expect(world.truth().totals.calls).toBe(80);
});

test('for people it is a table, with what is unknown said so and what is left out counted', async () => {
  const world = await createWorld({
    keys: [{ name: 'a', rpm: 60 }],
    scenario: { models: [{ id: 'priced', cost: { input_per_m_token: 1, output_per_m_token: 2 } }, { id: 'free' }] },
  });
  const line = (model: string) => `${JSON.stringify({ prompt: 'Hello', model })}\n`;
  writeFileSync(world.file('in.jsonl'), `${line('priced')}${line('free')}${line('prised')}{\n`);
  const ended = await world.nightshift(['estimate', 'in.jsonl']);
  expectExit(ended, 0);
  expect(ended.stdout).toMatch(/^priced +1 +\d+ – \d+ +50 – 4,096 +\$0\.0\d+ – \$0\.00\d+ +no wait$/m);
  expect(ended.stdout).toMatch(/^free +1 .* unknown +no wait$/m);
  expect(ended.stdout).toMatch(/^prised \(no key offers it\) +1 /m);
  expect(ended.stdout).toMatch(/^Total +2 .* ≥ \$/m);
  expect(ended.stderr).toContain('1 request of unknown price');
  expect(ended.stderr).toContain('1 request for models that no key offers');
  expect(ended.stderr).toContain('1 bad line, not counted: nightshift check in.jsonl');
  expect(ended.stderr).toContain('3 requests without max_tokens');

  world.configure({ prices: { free: { inputUsdPerMTok: 1, outputUsdPerMTok: 1 } } });
  const priced = await world.nightshift(['estimate', 'in.jsonl', '--json']);
  expect(estimateOf(priced)).toMatchObject({ unpricedRequests: 0, notOfferedRequests: 1, invalidLines: 1 });
  const offline = await world.nightshift(['estimate', 'in.jsonl', '--json', '--offline']);
  expect(estimateOf(offline)).toMatchObject({ requests: 3, unpricedRequests: 2, timeMs: null, limitedBy: 'unknown' });
});

test('a limit that is not known makes the time unknown, until it was learnt', async () => {
  const world = await createWorld({
    keys: [{ name: 'a', configured: { rpm: 'auto' } }],
    redisUrl,
    config: { namespace },
  });
  writeInput(world, { count: 50 });
  const unknown = await world.nightshift(['estimate', 'in.jsonl', '--json']);
  expectExit(unknown, 0);
  expect(estimateOf(unknown)).toMatchObject({ timeMs: null, limitedBy: 'unknown' });
  expect(unknown.stderr).toContain('limits not known yet: a;');

  await client.hset(names.key(keyIdOf(world.tokens[0] ?? '')), { top: 25, sure: 1 });
  const learnt = await world.nightshift(['estimate', 'in.jsonl', '--json']);
  expect(estimateOf(learnt)).toMatchObject({ timeMs: { low: 3000, high: 3000 }, limitedBy: 'requests' });
});

test('without a key that can be asked it says what it knows', async () => {
  const world = await createWorld();
  writeFileSync(world.file('in.csv'), 'text\nHello\nGood night\n');
  const template = ['--template', 'About: {{text}}', '--model', 'fast', '--max-tokens', '60', '--json'];
  world.configure({}, { a: { secretEnv: 'NO_SUCH_SECRET' } });
  const ended = await world.nightshift(['estimate', 'in.csv', ...template]);
  expectExit(ended, 0);
  expect(estimateOf(ended)).toMatchObject({ requests: 2, completionTokens: { low: 30, high: 120 }, costUsd: null });
  expect(ended.stderr).toMatch(/^no key can be asked: .*NO_SUCH_SECRET/);
});
