/**
 * Every name nightshift uses in Redis. One namespace shares one hash tag, so all its keys live in one Cluster slot and
 * every script may touch any of them. Nothing else builds a name: scripts get theirs as KEYS.
 */

export type Names = ReturnType<typeof createNames>;

export function createNames(namespace: string) {
  const tag = `{${namespace}}`;
  return {
    namespace,
    /** BullMQ's prefix: its keys are `{ns}:<queue>:…`. */
    queuePrefix: tag,
    /** Hash: a key's standing, spend and calls in flight. `keyId` is the 12-hex fingerprint, never the secret. */
    key: (keyId: string) => `${tag}:key:${keyId}`,
    /** Hash: what workers say of their keys (keys/announced.ts). */
    announced: `${tag}:keys`,
    /** String with expiry: somebody has just said that. */
    announcing: (what: string) => `${tag}:keys:${what}`,
    /** String with expiry: a worker of that machine (process-gone.ts) looks for dead ones. */
    burying: (machine: string) => `${tag}:workers:${machine}`,
    /** Hash: the sliding window of one quota bucket. */
    bucket: (bucketId: string) => `${tag}:bucket:${bucketId}`,
    /** Hash: line reference → intent of the call that is in flight for it. */
    inflight: `${tag}:inflight`,
    /** Hash: nano USD `reserved` now and `spent:<day number>` of each UTC day, all batches together. */
    spend: `${tag}:spend`,
    /** Hash with expiry: attempt id → assumed cost of calls given up as `unknown`. */
    reaped: `${tag}:reaped`,
    /** Sorted set: worker id → last sign of life (Redis time, ms). */
    workers: `${tag}:workers`,
    /** Hash: what the lock tokens of a worker's jobs begin with → since when (ms). */
    worker: (workerId: string) => `${tag}:worker:${workerId}`,
    /** Hash: one (provider, key)'s model listing and its age. */
    models: (provider: string, keyId: string) => `${tag}:models:${provider}:${keyId}`,
    /** String with expiry: who fetches that listing now. */
    modelsLock: (provider: string, keyId: string) => `${tag}:models:${provider}:${keyId}:lock`,
    /** Sorted set: priority → the turn that was served last (jobs/turns.ts). */
    turns: `${tag}:turns`,
    /** Sorted set: priority and model that lines of some process wait for → until when (Redis time, ms). */
    wanted: `${tag}:wanted`,
    /** Set of batch ids. */
    batches: `${tag}:batches`,
    /** Hash: a batch's options, status and counters. */
    batch: (batchId: string) => `${tag}:batch:${batchId}`,
    /** Bitmap: one bit per line, set once its result is written. */
    done: (batchId: string) => `${tag}:batch:${batchId}:done`,
    /** Hash: of lines that are unfinished and have failed: line → attempts spent, and `<line>:notBefore`, when to send again. */
    attempts: (batchId: string) => `${tag}:batch:${batchId}:attempts`,
    /** Hash: line → the approval it waits for (provider answered 202), as JSON. */
    held: (batchId: string) => `${tag}:batch:${batchId}:held`,
    /** Stream of results on their way to the files. */
    results: (batchId: string) => `${tag}:batch:${batchId}:results`,
    /** String with expiry: the process that produces and collects this batch. */
    lease: (batchId: string) => `${tag}:batch:${batchId}:lease`,
    /** String with expiry: who took that lease last, and the how manieth it was. */
    lastHolder: (batchId: string) => `${tag}:batch:${batchId}:holder`,
    /** Stream: a batch's ledger entries on their way to SQL. */
    ledger: (batchId: string) => `${tag}:batch:${batchId}:ledger`,
    /** Stream: ledger entries that could not be read, kept for a person to look at. */
    ledgerDead: `${tag}:ledger:dead`,
  } as const;
}
