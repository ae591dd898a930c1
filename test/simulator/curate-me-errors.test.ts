import { describe, expect, test } from 'vitest';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { chatCurateMe } from './client.ts';

const nowMs = Date.UTC(2026, 0, 15, 12);

describe.each(['newer', 'older'] as const)('in its %s shape Curate-Me answers', (errorShape) => {
  test('too many requests, with when to come back in all its places', async () => {
    await using simulator = await createSimulator({
      now: () => nowMs,
      scenario: { provider: 'curate-me', errorShape, keys: [{ name: 'a', rpm: 1 }], windowMs: 30_000 },
    });
    await chatCurateMe(simulator);
    const { status, json, headers } = await chatCurateMe(simulator);
    expect(status).toBe(429);
    expect(headers.get('retry-after')).toBe('30');
    if (errorShape === 'newer') {
      expect(json.error).toEqual({
        code: 'rate_limit_exceeded',
        message: 'Rate limit exceeded',
        request_id: expect.stringMatching(/^req_/),
        retry_after: 30,
        limit: 1,
        remaining: 0,
        reset_at: '2026-01-15T12:00:30.000Z',
      });
      expect(rateHeadersOf(headers, 'ratelimit')).toEqual(['1', '0', '30']);
    } else {
      expect(json.error).toEqual({
        message: 'Rate limit exceeded',
        type: 'rate_limit_error',
        param: null,
        code: '429',
      });
      expect(rateHeadersOf(headers, 'x-ratelimit')).toEqual(['1', '0', String((nowMs + 30_000) / 1000)]);
    }
    expect(simulator.truth().keys['a']).toMatchObject({ rejected429: 1, refusals: { rate_limit: 1 } });
  });

  test.each([
    [500, 'internal_error', 'gateway', false],
    [502, 'upstream_error', 'provider', true],
    [503, 'circuit_open', 'gateway', true],
    [504, 'upstream_timeout', 'provider', true],
  ])('%i with its source and whether to try again', async (status, code, source, retryable) => {
    await using simulator = await createSimulator({
      scenario: {
        provider: 'curate-me',
        errorShape,
        faults: [
          { kind: 'status', status, times: 1 },
          { kind: 'status', status, retryable: !retryable, code: 'chosen' },
        ],
      },
    });
    const first = await chatCurateMe(simulator);
    expect(first.status).toBe(status);
    expect(first.json.error).toMatchObject({ code, source, provider: 'openai', retryable });
    expect(first.json.error).toHaveProperty('provider_status');
    expect((await chatCurateMe(simulator)).json.error).toMatchObject({ code: 'chosen', retryable: !retryable });
  });
});

test('only the older pages know a cap on one request', async () => {
  const capped: ScenarioInput = { provider: 'curate-me', keys: [{ name: 'a', maxRequestCostUsd: 0.000001 }] };
  await using simulator = await createSimulator({ scenario: { ...capped, errorShape: 'older' } });
  const { status, json } = await chatCurateMe(simulator);
  expect(status).toBe(403);
  expect(json.error.code).toBe('cost_per_request');
  await expect(createSimulator({ scenario: capped })).rejects.toThrow(/keys\[0\]\.maxRequestCostUsd: the provider/);
});

test('any refusal can be scripted, in the words of the shape', async () => {
  await using simulator = await createSimulator({
    scenario: {
      provider: 'curate-me',
      faults: [
        { kind: 'refuse', reason: 'rate_limit', retryAfterMs: 7000, times: 1 },
        { kind: 'refuse', reason: 'org_budget', times: 1 },
      ],
    },
  });
  const limited = await chatCurateMe(simulator);
  expect([limited.status, limited.json.error.retry_after, limited.headers.get('retry-after')]).toEqual([429, 7, '7']);
  expect((await chatCurateMe(simulator)).json.error.code).toBe('daily_limit_exceeded');
  expect((await chatCurateMe(simulator)).status).toBe(200);
  const key = simulator.truth().keys['sim-1'];
  expect(key).toMatchObject({ rejected429: 0, refusals: { rate_limit: 1, org_budget: 1 }, maxInWindow: 1 });
  expect(simulator.truth().faults).toEqual({ refuse: 2 });
});

test('a message echoes the beginning of a bad key, as the gateway may', async () => {
  await using simulator = await createSimulator({ scenario: { provider: 'curate-me' } });
  const key = `cm_sk_${'0123456789abcdef'.repeat(3)}`;
  const { json } = await chatCurateMe(simulator, {}, { headers: { 'x-cm-api-key': key } });
  expect(json.error.message).toContain('cm_sk_012345…');
});

function rateHeadersOf(headers: Headers, prefix: string): (string | null)[] {
  return ['limit', 'remaining', 'reset'].map((name) => headers.get(`${prefix}-${name}`));
}
