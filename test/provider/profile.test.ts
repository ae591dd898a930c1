import { describe, expect, it, test } from 'vitest';
import { nextDayMs, nextMonthMs, profileOf } from '../../src/provider/profile.ts';

const profile = profileOf('privatemind');
const id = `PMIND${'7'.repeat(27)}`;
const tail = '0123456789abcdef'.repeat(4);

describe('the form of a PrivateMind key', () => {
  it('is an access key id, a colon and 64 hex characters', () => {
    expect(profile.secretProblem(`${id}:${tail}`)).toBeNull();
    expect(profile.secretProblem(`${id}:${tail.toUpperCase()}`)).toBeNull();
  });

  test.each([
    [id, /only the access key id/],
    [tail, /only one half/],
    ['', /expected <access_key_id>:<secret>/],
    [`sk-${id}:${tail}`, /must start with PMIND/],
    [`${id}:${tail.slice(1)}`, /64 hex characters, this has 63/],
    [`${id}:${tail.slice(1)}g`, /64 hex characters/],
    [`${id}:${tail}:more`, /64 hex characters/],
    [`${id}: ${tail}`, /spaces or line breaks/],
    [`${id}:${tail}\n`, /spaces or line breaks/],
  ])('is not "%s"', (secret, problem) => {
    expect(profile.secretProblem(secret)).toMatch(problem);
  });

  it('is explained without the key itself', () => {
    for (const secret of [id, tail, `${id}:${tail}x`, `x${id}:${tail}`]) {
      const problem = profile.secretProblem(secret) ?? '';
      expect(problem).not.toContain('0123456789');
      expect(problem).not.toContain('7777');
    }
  });
});

test('the whole key goes into the header', () => {
  expect(profile.authHeaders({ secret: `${id}:${tail}`, upstreamSecret: null })).toEqual({
    authorization: `Bearer ${id}:${tail}`,
  });
});

describe('an exhausted budget', () => {
  const ms = 1;
  const minute = 60_000;
  const day = 24 * 60 * minute;

  test.each([
    ['a day', nextDayMs, Date.UTC(2026, 11, 31), Date.UTC(2027, 0, 1)],
    ['a month', nextMonthMs, Date.UTC(2026, 11, 1), Date.UTC(2027, 0, 1)],
  ])('of %s comes back where the next one begins', (_, next, began, ends) => {
    expect(next(began + 5 * minute)).toBe(ends);
    expect(next(began + day / 2)).toBe(ends);
    expect(next(ends - ms)).toBe(ends);
  });

  test.each([
    ['a day', nextDayMs, Date.UTC(2027, 0, 1)],
    ['a month', nextMonthMs, Date.UTC(2027, 0, 1)],
  ])('of %s that is refused right after it began anew is tried five minutes into it', (_, next, began) => {
    for (const late of [0, 200, minute, 5 * minute - ms]) expect(next(began + late)).toBe(began + 5 * minute);
  });
});
