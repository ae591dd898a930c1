import { expect, test } from 'vitest';
import { secondsIn, toldRpm } from '../../src/provider/rate-headers.ts';

const nowMs = 1_800_000_000_000;

test.each([
  ['OpenAI, a minute', { 'x-ratelimit-limit-requests': '500', 'x-ratelimit-reset-requests': '120ms' }, 500],
  ['OpenAI, a day', { 'x-ratelimit-limit-requests': '10000', 'x-ratelimit-reset-requests': '6h3m0s' }, null],
  ['Curate-Me, seconds left', { 'ratelimit-limit': '60', 'ratelimit-remaining': '3', 'ratelimit-reset': '42' }, 60],
  ['Curate-Me, older, Unix time', { 'x-ratelimit-limit': '60', 'x-ratelimit-reset': '1800000030' }, 60],
  ['a Unix time far away', { 'x-ratelimit-limit': '60', 'x-ratelimit-reset': '1800086400' }, null],
  ['the draft with its window', { 'ratelimit-limit': '100;w=60' }, 100],
  ['the draft with an hour', { 'ratelimit-limit': '100;w=3600', 'ratelimit-reset': '5' }, null],
  ['a limit without a reset says nothing of its window', { 'ratelimit-limit': '100' }, null],
  ['no limit', { 'ratelimit-limit': '0', 'ratelimit-reset': '5' }, null],
  ['nonsense', { 'ratelimit-limit': 'many', 'ratelimit-reset': '5' }, null],
  ['nothing', {}, null],
])('the limit that headers name: %s', (_, headers, rpm) => {
  expect(toldRpm(headers as Record<string, string>, nowMs)).toBe(rpm);
});

test.each([
  ['12', 12],
  ['0.5', 0.5],
  ['1s', 1],
  ['6m0s', 360],
  ['12ms', 0.012],
  ['1h2m3.5s', 3723.5],
  ['1800000010', 10],
  ['', null],
  ['soon', null],
])('a reset of "%s" is %s seconds away', (text, seconds) => {
  expect(secondsIn(text, nowMs)).toBe(seconds);
});
