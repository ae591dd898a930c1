/**
 * Progress on stderr: on a terminal a small block that is redrawn (lines, rate, time left, tokens, money, one line a
 * key), elsewhere a plain line now and then.
 */
import { styleText } from 'node:util';
import type { Redis } from '../redis/client.ts';
import type { BatchRecord } from '../batch/batch.ts';
import { createRate, progressOf } from '../batch/progress.ts';
import { describeKeys, type KeyTone } from '../keys/describe.ts';
import type { Keyring } from '../keys/keyring.ts';
import { readStanding, type Standing } from '../keys/standing.ts';
import type { Names } from '../redis/names.ts';
import { draw, erase, say } from './screen.ts';

export type ProgressView = { show: (record: BatchRecord) => void; end: () => void };

/** Shorter runs say nothing before their end. */
const plainEveryMs = 10_000;
const mostKeysShown = 12;
const styles: Record<KeyTone, 'green' | 'yellow' | 'red'> = { good: 'green', waiting: 'yellow', bad: 'red' };

export function createProgressView(options: {
  redis: Redis;
  names: Names;
  keyring: Keyring;
  color: boolean;
}): ProgressView {
  const { redis, names, keyring } = options;
  const out = process.stderr;
  const rate = createRate();
  const shownKeys = keyring.keys.slice(0, mostKeysShown);
  let plainAt = performance.now();
  let standings: Standing[] = [];
  let reading = false;

  /** For the next drawing: showing never waits. */
  function readStandings(): void {
    if (reading) return;
    reading = true;
    Promise.all(shownKeys.map(({ keyId }) => readStanding(redis, names, keyId))).then(
      (now) => ((standings = now), (reading = false)),
      () => (reading = false),
    );
  }

  /** `styleText` itself obeys NO_COLOR and leaves what is no terminal alone. */
  const paint = (style: Parameters<typeof styleText>[0], text: string) =>
    options.color ? styleText(style, text, { stream: out }) : text;

  function lines(record: BatchRecord, perSecond: number | null): string[] {
    const { head, tail } = progressOf(record, perSecond);
    const keys = describeKeys(standings.map((standing, index) => ({ name: shownKeys[index]?.name ?? '', standing })));
    const unshown = keyring.keys.length - shownKeys.length;
    return [
      `${paint('bold', record.name)}  ${head.join(' · ')}`,
      `  ${tail.join(' · ')}`,
      ...keys.map(({ name, state, tone, rest }) => `  ${name}  ${paint(styles[tone], state)}  ${rest}`),
      ...(unshown > 0 && keys.length > 0 ? [`  … and ${unshown} more keys (nightshift keys)`] : []),
    ];
  }

  return {
    show(record) {
      const perSecond = rate(record.counts.completed + record.counts.failed, performance.now());
      if (out.isTTY) {
        readStandings();
        draw(lines(record, perSecond));
        return;
      }
      if (record.status === 'completed' || performance.now() - plainAt < plainEveryMs) return;
      plainAt = performance.now();
      const { head, tail } = progressOf(record, perSecond);
      say(`${record.name}  ${[...head, ...tail].join(' · ')}`);
    },
    end: erase,
  };
}
