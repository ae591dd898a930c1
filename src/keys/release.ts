/** Giving a slot back that was never used: its place in the window and its money are free again, no call is booked. */
import type { Call, Settle } from './settle.ts';

export type UnusedSlot = { batchId: string; line: number } & Pick<Call, 'attemptId' | 'keyId' | 'bucketId'>;

/** Returns false when the slot was settled before. */
export async function releaseSlot(settle: Settle, { batchId, line, ...slot }: UnusedSlot): Promise<boolean> {
  const { attemptId, keyId, bucketId } = slot;
  const { settled } = await settle({
    batchId,
    line,
    call: {
      attemptId,
      keyId,
      bucketId,
      act: { kind: 'neutral' },
      fate: 'release',
      tokens: null,
      costNanoUsd: null,
      countsAsAttempt: false,
      ledger: null,
    },
    end: null,
  });
  return settled;
}
