/**
 * An intent: what Redis knows of a call in flight. Written by acquire.lua, read by settle.lua and here; if the worker
 * dies, it is the crash record that the ledger's `unknown` row is made from.
 */
import { z } from 'zod';

/** What acquire.lua carries along for the ledger, as JSON in the intent's last field. */
const stubSchema = z.object({ customId: z.string(), requestedModel: z.string() });
export type IntentStub = z.infer<typeof stubSchema>;

export type Intent = IntentStub & {
  ref: string;
  batchId: string;
  line: number;
  attemptId: string;
  workerId: string;
  keyId: string;
  bucketId: string;
  /** Redis time at which the call was stamped. */
  sentAtMs: number;
  model: string;
  /** A slot in the future, whose call has not gone out yet (sent.lua). */
  isReserved: boolean;
};

/** The name of a line in the in-flight hash. Batch ids hold no hyphen. */
export function lineRef(batchId: string, line: number): string {
  return `${batchId}-${line}`;
}

export function parseIntent(ref: string, packed: string): Intent {
  const fields = packed.split('\t');
  const [attemptId = '', workerId = '', keyId = '', bucketId = '', , , , sentAt = '', model = ''] = fields;
  const stub = stubSchema.parse(JSON.parse(fields.slice(11).join('\t')));
  const hyphen = ref.lastIndexOf('-');
  return {
    ...stub,
    ref,
    batchId: ref.slice(0, hyphen),
    line: Number(ref.slice(hyphen + 1)),
    attemptId,
    workerId,
    keyId,
    bucketId,
    sentAtMs: Number(sentAt),
    model,
    isReserved: fields[10] === '1',
  };
}
