/** Telling Redis that a reserved slot is used now, in micro-batches. What it is for is written in sent.lua. */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { createBatcher } from '../redis/batcher.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';

export type SlotInUse = { ref: string; attemptId: string };

/** False: the slot is no longer this attempt's; the call must not be made. */
export type MarkSent = (slot: SlotInUse) => Promise<boolean>;

const maxItemsPerCall = 64;
const replySchema = z.array(z.number());

export function createMarkSent(options: { redis: Redis; names: Names }): MarkSent {
  const script = loadScript(options.redis, 'sent.lua', import.meta.url);
  return createBatcher(maxItemsPerCall, async (slots: SlotInUse[]) => {
    const reply = await script(
      [options.names.inflight],
      slots.flatMap(({ ref, attemptId }) => [ref, attemptId]),
    );
    return replySchema.parse(reply).map((marked) => marked === 1);
  });
}
