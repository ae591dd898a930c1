/** Telling Redis that a reserved slot is used now, in micro-batches. What it is for is written in sent.lua. */
import type { Redis } from '../redis/client.ts';
import { z } from 'zod';
import { createBatcher } from '../redis/batcher.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import { lineRef } from './intent.ts';

export type SlotInUse = { batchId: string; line: number; attemptId: string; keyId: string };

/** `use`: send now. Otherwise the call must not be made; a slot that is `closed` is ours to give back. */
export type SlotFate = 'use' | 'lost' | 'closed';
export type MarkSent = (slot: SlotInUse) => Promise<SlotFate>;

const maxItemsPerCall = 64;
const replySchema = z.array(z.enum(['use', 'lost', 'closed']));

export function createMarkSent(options: { redis: Redis; names: Names }): MarkSent {
  const { names } = options;
  const script = loadScript(options.redis, 'sent.lua', import.meta.url);
  return createBatcher(maxItemsPerCall, async (slots: SlotInUse[]) => {
    const reply = await script(
      [names.inflight, ...slots.flatMap(({ batchId, keyId }) => [names.batch(batchId), names.key(keyId)])],
      slots.flatMap(({ batchId, line, attemptId }) => [lineRef(batchId, line), attemptId]),
    );
    return replySchema.parse(reply);
  });
}
