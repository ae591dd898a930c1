/** Telling Redis that a reserved slot is used now, in micro-batches. What it is for is written in sent.lua. */
import type { Redis } from '../redis/client.ts';
import { z } from 'zod';
import { createBatcher } from '../redis/batcher.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import { lineRef } from './intent.ts';

/** `withinMs`: how long after its slot's time the call may go out. */
export type SlotInUse = { batchId: string; line: number; attemptId: string; keyId: string; withinMs: number };

const fates = ['use', 'lost', 'closed', 'late'] as const;
/** `use`: send now. Otherwise the call must not be made; a slot that is not `lost` is ours to give back. */
export type SlotFate = (typeof fates)[number];
export type MarkSent = (slot: SlotInUse) => Promise<SlotFate>;

const maxItemsPerCall = 64;
const replySchema = z.array(z.enum(fates));

/** `now`: tests pass a time; default Redis' own clock. */
export function createMarkSent(options: { redis: Redis; names: Names; now?: () => number }): MarkSent {
  const { names } = options;
  const script = loadScript(options.redis, 'sent.lua', import.meta.url);
  return createBatcher(maxItemsPerCall, async (slots: SlotInUse[]) => {
    const reply = await script(
      [names.inflight, ...slots.flatMap(({ batchId, keyId }) => [names.batch(batchId), names.key(keyId)])],
      [
        options.now ? String(options.now()) : '',
        ...slots.flatMap(({ batchId, line, attemptId, withinMs }) => [
          lineRef(batchId, line),
          attemptId,
          String(withinMs),
        ]),
      ],
    );
    return replySchema.parse(reply);
  });
}
