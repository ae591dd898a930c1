import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { assumedMaxTokens, estimateInput, measure, type ModelPlan } from '../../src/batch/estimate.ts';
import { openInput } from '../../src/batch/input.ts';
import { sendingTime, type Demand, type KeyLimits } from '../../src/batch/sending-time.ts';

const key = (bucketId: string, more: Partial<KeyLimits> = {}): KeyLimits => {
  return { bucketId, windowMs: 60_000, requests: 600, tokens: null, countsRequested: false, ...more };
};

describe('the time that limits take', () => {
  const demand = (requests: number, keys: KeyLimits[], more: Partial<Demand> = {}): Demand => {
    const tokens = { low: requests * 100, high: requests * 200 };
    const requestedTokens = { low: requests * 300, high: requests * 300 };
    return { requests, tokens, requestedTokens, keys, ...more };
  };
  const minutes = (low: number, high = low) => ({ low: low * 60_000, high: high * 60_000 });
  const two = [key('a'), key('b', { requests: 300 })];
  const shared = [key('a'), key('a', { requests: 300 })];
  const short = [key('a', { requests: 10, windowMs: 1000 }), key('b', { requests: 60 })];

  test.each<[string, Demand[], object]>([
    [
      'what the window admits at once does not wait',
      [demand(600, [key('a')])],
      { ms: minutes(0), limitedBy: 'nothing' },
    ],
    ['then it is a window for each more', [demand(6000, [key('a')])], { ms: minutes(9), limitedBy: 'requests' }],
    ['two keys share the work', [demand(2700, two)], { ms: minutes(2), limitedBy: 'requests' }],
    ['keys of one bucket do not', [demand(1800, shared)], { ms: minutes(2), limitedBy: 'requests' }],
    ['windows differ', [demand(70 + 11 * 60, short)], { ms: minutes(1), limitedBy: 'requests' }],
    [
      'tokens bind where answers are long',
      [demand(1200, [key('a', { tokens: 60_000 })])],
      { ms: minutes(1, 3), limitedBy: 'tokens' },
    ],
    [
      'a limit that counts what is requested counts it in full',
      [demand(600, [key('a', { tokens: 60_000, countsRequested: true })])],
      { ms: minutes(2), limitedBy: 'tokens' },
    ],
    [
      'a key without a limit takes everything',
      [demand(1e6, [...two, key('c', { requests: null })])],
      { ms: minutes(0), limitedBy: 'nothing' },
    ],
    [
      'an unknown limit makes the time unknown',
      [demand(1000, [key('a'), key('b', { requests: 'unknown' })])],
      { ms: null, limitedBy: 'unknown' },
    ],
    [
      'but not where the known one is enough',
      [demand(600, [key('a'), key('b', { requests: 'unknown' })])],
      { ms: minutes(0), limitedBy: 'nothing' },
    ],
    ['without keys it is unknown', [demand(1, [])], { ms: null, limitedBy: 'unknown' }],
    [
      'a model that one key alone offers waits for that key',
      [demand(6000, [key('a')]), demand(10, [key('a'), key('b')])],
      { ms: minutes(9), limitedBy: 'requests' },
    ],
    [
      'models of the same keys wait for each other',
      [demand(600, [key('a')]), demand(600, [key('a')])],
      { ms: minutes(1), limitedBy: 'requests' },
    ],
  ])('%s', (_, demands, expected) => {
    expect(sendingTime(demands)).toEqual(expected);
  });

  test('is found, too, where every model has keys of its own', () => {
    const demands = Array.from({ length: 30 }, (_, index) => demand(600 * (index + 1), [key(`key-${index}`)]));
    expect(sendingTime(demands)).toEqual({ ms: minutes(29), limitedBy: 'requests' });
  });
});

describe('the size of a request', () => {
  const user = (content: unknown) => ({ messages: [{ role: 'user', content }] });
  const unknown = { shortAnswerTokens: null, contextLength: null };

  test('is between few and many tokens per character, for any script', () => {
    expect(measure({ body: { ...user('a'.repeat(600)), max_tokens: 80 } }, unknown)).toEqual({
      prompt: { low: 100, high: 208 },
      completion: { low: 20, high: 80 },
      isUnbounded: false,
      hasMedia: false,
    });
    expect(measure({ body: user('\u65e5'.repeat(600)) }, unknown).prompt).toEqual({ low: 100, high: 608 });
  });

  test('has the tools in it, and not the pictures', () => {
    const tools = [{ type: 'function', function: { name: 'f'.repeat(300) } }];
    expect(measure({ body: { ...user('a'), tools } }, unknown).prompt.low).toBeGreaterThan(50);
    const parts = [{ type: 'text', text: 'abcdef' }, { type: 'image_url' }];
    expect(measure({ body: user(parts) }, unknown)).toMatchObject({ prompt: { low: 1 }, hasMedia: true });
  });

  test('goes by what the ledger knows, max_tokens, the context and the number of choices', () => {
    const completion = (body: object, more: Partial<ModelPlan> = {}) =>
      measure({ body: { ...user('a'), ...body } }, { ...unknown, ...more }).completion;
    expect(completion({ max_tokens: 500 }, { shortAnswerTokens: 120 })).toEqual({ low: 120, high: 500 });
    expect(completion({ max_tokens: 20 }, { shortAnswerTokens: 120 })).toEqual({ low: 20, high: 20 });
    expect(completion({ max_completion_tokens: 70 })).toEqual({ low: 18, high: 70 });
    expect(completion({ max_completion_tokens: 700 })).toEqual({ low: 50, high: 700 });
    expect(completion({})).toEqual({ low: 50, high: assumedMaxTokens });
    expect(completion({}, { contextLength: 1001 })).toEqual({ low: 50, high: 1000 });
    expect(completion({ max_tokens: 700, n: 3 })).toEqual({ low: 150, high: 2100 });
  });
});

describe('an input', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'nightshift-estimate-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  const plan = (more: Partial<ModelPlan> = {}): ModelPlan => ({
    resolved: [],
    isOffered: true,
    prices: [{ inputUsdPerMTok: 1, outputUsdPerMTok: 10 }],
    shortAnswerTokens: null,
    contextLength: null,
    keys: [key('a', { requests: 1 })],
    ...more,
  });
  const plans: Record<string, ModelPlan> = {
    plain: plan(),
    cheaper: plan({ prices: [...plan().prices!, { inputUsdPerMTok: 0, outputUsdPerMTok: 5 }] }),
    unpriced: plan({ prices: null }),
    missing: plan({ isOffered: false, prices: null, keys: [] }),
  };

  async function estimate(lines: (object | string)[]) {
    const file = path.join(directory, 'in.jsonl');
    await writeFile(file, lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'));
    const input = await openInput(file, { spoolDir: directory });
    return estimateInput(input, { defaults: { model: 'plain' }, planOf: (model) => plans[model]! });
  }
  const line = (model?: string) => ({ prompt: 'a'.repeat(600), max_tokens: 200, ...(model && { model }) });

  test('is summed per model and in total, with the cost of the cheapest and of the dearest price', async () => {
    const { models, total } = await estimate([line(), line('cheaper'), line()]);
    expect(models.map(({ requested, requests }) => [requested, requests])).toEqual([
      ['plain', 2],
      ['cheaper', 1],
    ]);
    expect(models[0]).toMatchObject({
      promptTokens: { low: 200, high: 416 },
      completionTokens: { low: 100, high: 400 },
      costNanoUsd: { low: 1_200_000, high: 4_416_000 },
      time: { ms: { low: 60_000, high: 60_000 }, limitedBy: 'requests' },
    });
    expect(models[1]?.costNanoUsd).toEqual({ low: 250_000, high: 2_208_000 });
    expect(total).toMatchObject({
      requests: 3,
      promptTokens: { low: 300, high: 624 },
      costNanoUsd: { low: 1_450_000, high: 6_624_000 },
      unpricedRequests: 0,
      time: { ms: { low: 120_000, high: 120_000 } },
    });
  });

  test('says unknown of an unknown price, never 0', async () => {
    expect((await estimate([line('unpriced')])).total).toMatchObject({ costNanoUsd: null, unpricedRequests: 1 });
    const { total } = await estimate([line('unpriced'), line()]);
    expect(total).toMatchObject({ costNanoUsd: { low: 600_000 }, unpricedRequests: 1 });
  });

  test('leaves out what will not be sent, and counts it', async () => {
    const result = await estimate([line('missing'), '{', { prompt: 'x' }]);
    expect(result).toMatchObject({ notOffered: 1, invalid: 1, unbounded: 1, total: { requests: 1 } });
  });
});
