/** The clocks that windows, expiries and resets are counted by: this machine's, the providers' and Redis'. */
import type { Timed } from './asking.ts';
import { about, type Finding } from './finding.ts';

const mostSkewMs = 5000;
/** An HTTP date has whole seconds, cut: on average it is half a second behind. */
const cutMs = 500;

/** How far the clock of the answer's sender is ahead of ours; null where it does not tell. */
export function skewOf({ answer, atMs }: Timed): number | null {
  if (answer.tag === 'failure') return null;
  const date = Date.parse(answer.headers['date'] ?? '');
  return Number.isNaN(date) ? null : date + cutMs - (atMs - answer.durationMs / 2);
}

/** `subject`: the provider's URL, or `redis`. */
export function checkClock(subject: string, skewMs: number): Finding {
  const say = about('clock', subject);
  const seconds = (Math.abs(skewMs) / 1000).toFixed(1);
  if (Math.abs(skewMs) <= mostSkewMs) return say.ok('its clock and ours agree');
  const evidence = `its clock is ${seconds} s ${skewMs > 0 ? 'ahead of' : 'behind'} ours`;
  const cure = 'set the clock of the machine that is wrong (timedatectl set-ntp true), and keep it set by NTP';
  return say.warning('the clocks differ', evidence, cure);
}
