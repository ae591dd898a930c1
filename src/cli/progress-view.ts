/**
 * Progress on stderr: on a terminal a small block that is redrawn (lines, rate, tokens, money, time left, one line a
 * key), elsewhere a plain line now and then.
 */
import { clearScreenDown, moveCursor } from 'node:readline';
import type { Redis } from 'ioredis';
import type { BatchRecord } from '../batch/batch.ts';
import { createRate, describeProgress } from '../batch/progress.ts';
import type { Keyring } from '../keys/keyring.ts';
import { describeKey } from '../keys/describe.ts';
import { readStanding, type Standing } from '../keys/standing.ts';
import type { Names } from '../redis/names.ts';

export type ProgressView = { show: (record: BatchRecord) => void; end: () => void };

const plainEveryMs = 10_000;
const mostKeysShown = 12;

export function createProgressView(options: {
  redis: Redis;
  names: Names;
  keyring: Keyring;
  color: boolean;
}): ProgressView {
  const { redis, names, keyring } = options;
  const out = process.stderr;
  const rate = createRate();
  let drawnLines = 0;
  let plainAt = Number.NEGATIVE_INFINITY;
  let standings: Standing[] = [];
  let reading = false;

  function readStandings(): void {
    if (reading) return;
    reading = true;
    Promise.all(keyring.keys.slice(0, mostKeysShown).map(({ keyId }) => readStanding(redis, names, keyId))).then(
      (now) => ((standings = now), (reading = false)),
      () => (reading = false),
    );
  }

  function erase(): void {
    if (drawnLines === 0) return;
    moveCursor(out, 0, -drawnLines);
    clearScreenDown(out);
    drawnLines = 0;
  }

  return {
    show(record) {
      const perSecond = rate(record.counts.completed + record.counts.failed, performance.now());
      const line = describeProgress(record, perSecond);
      if (!out.isTTY) {
        const isLast = record.status === 'completed';
        if (isLast || performance.now() - plainAt < plainEveryMs) return;
        plainAt = performance.now();
        out.write(`${line}\n`);
        return;
      }
      readStandings();
      erase();
      const width = out.columns ?? 80;
      const keys = standings.map((standing, index) => `  ${describeKey(keyring.keys[index]?.name ?? '', standing)}`);
      const lines = [line, ...keys].map((text) => text.slice(0, width - 1));
      out.write(`${lines.join('\n')}\n`);
      drawnLines = lines.length;
    },
    end: erase,
  };
}
