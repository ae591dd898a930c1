/**
 * A wall clock that steps, for one worker: loaded before everything else (`node --import`), it adds to the time of day
 * whatever number of milliseconds the file in NIGHTSHIFT_CLOCK_FILE holds, looked at again and again (a signal would
 * kill a process that has only begun). The monotonic clock and the timers go on as they do when a real clock is set.
 * What it does not reach: native code, which here only the log's file times would see.
 */
import { readFileSync } from 'node:fs';

const lookEveryMs = 50;
const file = process.env['NIGHTSHIFT_CLOCK_FILE'] ?? '';
let offsetMs = readOffset();
setInterval(() => (offsetMs = readOffset()), lookEveryMs).unref();

const RealDate = Date;
const realNow = Date.now.bind(Date);
const now = () => realNow() + offsetMs;

globalThis.Date = new Proxy(RealDate, {
  // `Date()` without `new` gives a text.
  apply: () => new RealDate(now()).toString(),
  construct: (target, args: [], newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  get: (target, name, receiver) => (name === 'now' ? now : Reflect.get(target, name, receiver)),
});

function readOffset(): number {
  try {
    return Number(readFileSync(file, 'utf8')) || 0;
  } catch {
    return 0;
  }
}
