import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createEstimator, needOf, type Estimator, type ModelFacts } from '../../src/keys/estimate.ts';
import type { RequestSize } from '../../src/provider/request-size.ts';
import { noUsage } from '../../src/provider/usage.ts';

const facts: ModelFacts = { price: null, contextLength: null, tpm: null, tpmCounts: 'used' };
const usage = (inputTokens: number | null, outputTokens: number | null) => ({ ...noUsage, inputTokens, outputTokens });
const size: RequestSize = {
  textChars: 1000,
  textBytes: 1000,
  messages: 0,
  hasMedia: false,
  maxTokens: 500,
  choices: 1,
};

function learnMany(estimator: Estimator, outputs: number[], inputTokens = 250): void {
  for (const output of outputs) estimator.learn('m', size, usage(inputTokens, output));
}

test.each([
  { name: 'half a token a character and max_tokens', size, facts, tokens: 1000 },
  {
    name: 'an assumed completion without max_tokens',
    size: { ...size, maxTokens: null },
    facts,
    tokens: 4596,
  },
  {
    name: 'no more than the context has room for',
    size: { ...size, maxTokens: null },
    facts: { ...facts, contextLength: 2000 },
    tokens: 2000,
  },
  {
    name: 'one token at least, where the prompt fills the context',
    size: { ...size, textChars: 10_000, maxTokens: null },
    facts: { ...facts, contextLength: 2000 },
    tokens: 5001,
  },
  { name: 'max_tokens for each choice', size: { ...size, choices: 10 }, facts, tokens: 5500 },
  {
    name: 'an assumed completion for each choice',
    size: { ...size, maxTokens: null, choices: 3 },
    facts,
    tokens: 500 + 3 * 4096,
  },
  { name: 'something for each message', size: { ...size, messages: 2 }, facts, tokens: 1028 },
  { name: 'nothing for pictures', size: { ...size, hasMedia: true }, facts, tokens: 1000 },
  { name: 'nothing for nothing', size: { ...size, textChars: 0, maxTokens: 0 }, facts, tokens: 0 },
])('an unknown model is estimated cautiously: $name', ({ size: of, facts: about, tokens }) => {
  expect(createEstimator().estimate('m', of, about).tokens).toBe(tokens);
});

test.each([
  { name: 'the limit on tokens, where the request does not say', more: { choices: 10 }, about: {}, tokens: 40_000 },
  { name: 'its prompt, where that alone is too large', more: { textChars: 90_000 }, about: {}, tokens: 45_000 },
  { name: 'what the request itself says', more: { maxTokens: 5000, choices: 10 }, about: {}, tokens: 50_500 },
  {
    name: 'what a limit demands that counts what is requested',
    more: { choices: 10 },
    about: { tpmCounts: 'requested' as const },
    tokens: 500 + 10 * 4096,
  },
])('an answer of unknown length is taken for no more than $name', ({ more, about, tokens }) => {
  const of = { ...size, maxTokens: null, ...more };
  expect(createEstimator().estimate('m', of, { ...facts, tpm: 40_000, ...about }).tokens).toBe(tokens);
});

test('nor do long answers of others make a request too large that does not say how long its own may be', () => {
  const estimator = createEstimator();
  learnMany(
    estimator,
    Array.from({ length: 20 }, () => 5000),
  );
  const about = { ...facts, tpm: 40_000 };
  expect(estimator.estimate('m', { ...size, maxTokens: null, choices: 10 }, about).tokens).toBe(40_000);
  expect(estimator.estimate('m', { ...size, maxTokens: 5000, choices: 10 }, about).tokens).toBe(50_250);
});

test('the one number for all candidates lets each of them serve that its own estimate lets', () => {
  const estimator = createEstimator();
  const guess = { ...size, maxTokens: null, choices: 10 };
  const of = (request: RequestSize, ...candidates: Partial<ModelFacts>[]) => {
    const abouts = candidates.map((each) => ({ ...facts, ...each }));
    return needOf(abouts.map((about) => ({ ...estimator.estimate('m', request, about), tpm: about.tpm }))).tokens;
  };
  const requested = 'requested' as const;
  expect(of(guess, {})).toBe(41_460);
  expect(of(guess, { tpm: 40_000 }, {}, { tpm: 90_000 })).toBe(40_000);
  // Its prompt is too large for the small one, which says nothing of the others.
  expect(of(guess, { tpm: 400 }, {})).toBe(41_460);
  expect(of(guess, { tpm: 400 })).toBe(500);
  // What is demanded is never lessened.
  expect(of({ ...guess, maxTokens: 5000 }, { tpm: 40_000 }, {})).toBe(50_500);
  expect(of(guess, { tpm: 40_000 }, { tpm: 90_000, tpmCounts: requested })).toBe(41_460);
});

test('the prompt follows what the model counts', () => {
  const estimator = createEstimator();
  learnMany(estimator, [10]);
  expect(estimator.estimate('m', { ...size, maxTokens: 0 }, facts).tokens).toBe(250);
  // And not another model's.
  expect(estimator.estimate('other', { ...size, maxTokens: 0 }, facts).tokens).toBe(500);
});

test('the completion is a high quantile of the answers once enough are known, and never above max_tokens', () => {
  const estimator = createEstimator();
  learnMany(
    estimator,
    Array.from({ length: 19 }, () => 40),
  );
  expect(estimator.estimate('m', size, facts).tokens).toBe(750);
  learnMany(estimator, [300]);
  expect(estimator.estimate('m', size, facts).tokens).toBe(550);
  expect(estimator.estimate('m', { ...size, maxTokens: 100 }, facts).tokens).toBe(350);
  // Fewer than one in twenty is long now.
  learnMany(
    estimator,
    Array.from({ length: 40 }, () => 40),
  );
  expect(estimator.estimate('m', size, facts).tokens).toBe(290);
});

test('old answers are forgotten', () => {
  const estimator = createEstimator();
  learnMany(
    estimator,
    Array.from({ length: 300 }, () => 400),
  );
  learnMany(
    estimator,
    Array.from({ length: 260 }, () => 10),
  );
  expect(estimator.estimate('m', size, facts).tokens).toBe(260);
});

test('a limit that counts what is requested is estimated by max_tokens for ever', () => {
  const estimator = createEstimator();
  learnMany(
    estimator,
    Array.from({ length: 100 }, () => 10),
  );
  expect(estimator.estimate('m', size, { ...facts, tpmCounts: 'requested' }).tokens).toBe(750);
});

test('money is always reserved by max_tokens', () => {
  const estimator = createEstimator();
  const price = { inputUsdPerMTok: 2, outputUsdPerMTok: 10 };
  learnMany(
    estimator,
    Array.from({ length: 100 }, () => 10),
  );
  expect(estimator.estimate('m', size, { ...facts, price }).costNanoUsd).toBe(250 * 2000 + 500 * 10_000);
  expect(estimator.estimate('m', size, facts).costNanoUsd).toBe(0);
});

test('money is reserved for every choice, and never more than Redis can add up', () => {
  const estimator = createEstimator();
  const about = { ...facts, price: { inputUsdPerMTok: 2, outputUsdPerMTok: 10 } };
  const cost = (more: Partial<RequestSize>) => estimator.estimate('m', { ...size, ...more }, about).costNanoUsd;
  expect(cost({ choices: 10 })).toBe(500 * 2000 + 10 * 500 * 10_000);
  const most = Number.MAX_SAFE_INTEGER;
  expect(cost({ maxTokens: most, choices: most })).toBeLessThan(2 ** 54);
});

test('of several choices the length of one is learnt', () => {
  const estimator = createEstimator();
  for (let answer = 0; answer < 20; answer += 1) estimator.learn('m', { ...size, choices: 4 }, usage(250, 400));
  expect(estimator.estimate('m', size, facts).tokens).toBe(250 + 100);
  expect(estimator.estimate('m', { ...size, choices: 4 }, facts).tokens).toBe(250 + 400);
});

test('what pictures come to says nothing about text, and the length of their answers is learnt all the same', () => {
  const estimator = createEstimator();
  for (let answer = 0; answer < 19; answer += 1) estimator.learn('m', { ...size, hasMedia: true }, usage(90_000, 40));
  expect(estimator.estimate('m', size, facts).tokens).toBe(500 + 500);
  // The first text is believed at once, as if there had been no pictures.
  estimator.learn('m', size, usage(250, 40));
  expect(estimator.estimate('m', size, facts).tokens).toBe(250 + 40);
});

test('answers that say nothing teach nothing', () => {
  const estimator = createEstimator();
  estimator.learn('m', size, usage(null, 5));
  estimator.learn('m', size, usage(5, null));
  estimator.learn('m', { ...size, textChars: 0 }, usage(5, 5));
  expect(estimator.estimate('m', size, facts).tokens).toBe(1000);
});

test('an estimate is a whole number that no answers can make smaller than its prompt or larger than max_tokens', () => {
  const answers = fc.array(fc.record({ chars: fc.nat(5000), input: fc.nat(5000), output: fc.nat(5000) }), {
    maxLength: 120,
  });
  fc.assert(
    fc.property(answers, fc.nat(10_000), fc.nat(10_000), (learnt, textChars, maxTokens) => {
      const estimator = createEstimator();
      for (const { chars, input, output } of learnt) {
        estimator.learn('m', { ...size, textChars: chars, maxTokens: null }, usage(input, output));
      }
      const of = (most: number) => estimator.estimate('m', { ...size, textChars, maxTokens: most }, facts).tokens;
      expect(Number.isSafeInteger(of(maxTokens))).toBe(true);
      expect(of(maxTokens)).toBeGreaterThanOrEqual(of(0));
      expect(of(maxTokens)).toBeLessThanOrEqual(of(0) + maxTokens);
    }),
  );
});
