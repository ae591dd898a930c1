/** The speed benchmark runs to its end, small: its figures mean nothing here, its record must hold them all. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { startProcess } from '../support/process.ts';

vi.setConfig({ testTimeout: 90_000 });

const command = path.resolve(import.meta.dirname, '../../bench/speed.ts');

async function bench(...args: string[]): Promise<Record<string, unknown>> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-speed-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const record = path.join(dir, 'speed.json');
  const running = startProcess([command, '--quick', '--record', record, ...args]);
  const code = await running.ended;
  expect(running.stderr()).toBe('');
  expect(code).toBe(0);
  return JSON.parse(readFileSync(record, 'utf8')) as Record<string, unknown>;
}

const above0 = expect.toSatisfy((value: unknown) => typeof value === 'number' && value > 0, 'a number above 0');

test('the contenders complete every line once, and their figures are recorded', async () => {
  const record = await bench('--section', 'throughput', '--only', 'a,c,e', '--lines', '200');
  const all = { a: above0, c: above0, e: above0 };
  expect(record).toMatchObject({
    completionsPerSecond: all,
    peakRssBytes: all,
    callsPerLine: { a: 1, c: 1, e: 1 },
    redisBytesPerQueuedLine: { c: above0, e: above0 },
    ratios: { 'e:c': above0 },
    measured: { throughput: { machine: { cores: above0 }, versions: { node: process.versions.node } } },
  });
});

test('another section adds its figures to the record', async () => {
  const record = await bench('--section', 'validate', '--validate-mb', '1');
  expect(record).toMatchObject({
    validationMegabytesPerSecond: { oneThread: above0, wholeMachine: above0 },
    producerLinesPerSecond: above0,
    measured: { validate: {} },
  });
});
