/** The requests per minute a key is configured for, against what its provider's headers say and 429s have taught. */
import { toldRpm } from '../provider/rate-headers.ts';
import { profileOf } from '../provider/profile.ts';
import type { Timed } from './asking.ts';
import { about, type Finding } from './finding.ts';
import type { Patient } from './key-form.ts';
import type { Memory } from './memory.ts';

const minuteMs = 60_000;
/** So far below what was configured that it is not the difference of two clocks. */
const clearlyLess = 0.9;

export function checkLimits({ key }: Patient, answers: readonly Timed[], memory: Memory | null): Finding[] {
  const say = about('limits', key.name);
  const told = answers
    .map(({ answer, atMs }) => (answer.tag === 'http' ? toldRpm(answer.headers, atMs) : null))
    .findLast((rpm) => rpm !== null);
  const lesson = memory?.standing.learnt ?? null;
  const learnt = lesson?.sure ? lesson.top : null;
  const { rpm } = key;
  const shown = [
    `configured ${rpm === null ? 'none' : rpm}`,
    ...(told === undefined ? [] : [`the provider's headers ${told}`]),
    ...(learnt === null ? [] : [`learnt ${learnt}`]),
  ].join(' · ');
  const what = `requests per ${key.provider.windowMs === minuteMs ? 'minute' : `${key.provider.windowMs} ms`}: ${shown}`;
  if (key.provider.windowMs !== minuteMs) return [say.ok(what)];
  const most = profileOf(key.provider.kind).mostRpm;
  const highest = rpm === null ? Number.POSITIVE_INFINITY : rpm === 'auto' ? 0 : rpm;
  const place = `keys[].rpm of "${key.name}"`;
  if (told !== undefined && highest > told) {
    return [say.warning('its limit is lower than configured', what, `set ${place} to ${told}, or to "auto"`)];
  }
  if (most !== null && highest > most) {
    const cure = `set ${place} to the key's rate limit (Settings → API Keys: 10 to ${most}), or to "auto"`;
    return [say.warning('no key of this provider has such a limit', what, cure)];
  }
  if (learnt !== null && learnt < highest * clearlyLess && highest !== Number.POSITIVE_INFINITY) {
    const cure = `set ${place} to ${learnt} or to "auto"; if it is right, other programs use the key`;
    return [say.warning('429s came below the configured limit', what, cure)];
  }
  return [say.ok(what)];
}
