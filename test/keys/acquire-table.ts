/**
 * acquire.lua as tables: a row is a case, each of its steps has its own clock (ms after the start). The window is
 * 60,000 ms, its slices 100 ms, the guard 250 ms: what was sent at 0 leaves at 60,350. The horizon is 1000 ms.
 */
import { expect, test } from 'vitest';
import { testRedis } from '../support/redis.ts';
import {
  type Answered,
  type Ask,
  batchId,
  createWorlds,
  read,
  startMs,
  type World,
  type WorldOptions,
} from './world.ts';

/** An ask and the reply it gets, or something that happens. */
type Step = readonly [atMs: number, what: Ask | ((world: World) => Promise<unknown>), gets?: string];
export type Row = WorldOptions & { name: string; steps: Step[] };

/** Makes a test of each row; call it once, at the top of a test file. */
export function testRows(rows: Row[]): void {
  const createWorld = createWorlds(testRedis());
  test.each(rows)('$name', async ({ steps, ...options }) => {
    const world = await createWorld(options);
    for (const [index, [atMs, what, gets]] of steps.entries()) {
      world.clock.now = startMs + atMs;
      if (typeof what === 'function') await what(world);
      else expect(`${index}: ${read(await world.ask(what))}`).toBe(`${index}: ${gets}`);
    }
  });
}

// ── what may happen ──

export const settle =
  (line: number, answered: Answered = {}) =>
  (world: World) =>
    world.settle(line, answered);
export const cool = (key: string, untilMs: number) => (world: World) =>
  world.setKey(key, { standing: 'cooling', since: startMs, until: startMs + untilMs });
export const retire =
  (key: string, reason: string, untilMs: number | null = null) =>
  (world: World) =>
    world.setKey(key, { standing: 'retired', reason, until: untilMs === null ? 0 : startMs + untilMs });
export const setBatch =
  (fields: Record<string, string | number>) =>
  ({ redis, names }: World) =>
    redis.hset(names.batch(batchId), fields);
