/**
 * The limiter: takes and gives back slots on keys, through two Lua scripts (acquire.lua, settle.lua) that hold the
 * rules. This file only shapes the questions, sends them in micro-batches and parses the small tagged replies.
 */
import type { Redis } from '../redis/client.ts';
import { createBatcher } from '../redis/batcher.ts';
import type { Names } from '../redis/names.ts';
import { loadScript } from '../redis/script.ts';
import { lineRef, parseIntent, type Intent, type IntentStub } from './intent.ts';
import type { Key } from './keyring.ts';
import { profileOf } from '../provider/profile.ts';
import { windowShape } from './window.ts';

export type Candidate = { key: Key; model: string };

export type AcquireRequest = IntentStub & {
  batchId: string;
  line: number;
  attemptId: string;
  /** Keys that may serve it, each with the model id that the request's model means there. */
  candidates: Candidate[];
  estimatedTokens: number;
  estimatedCostNanoUsd: number;
  /** Since when the line waits for a slot (performance.now). Who has waited for a window is not overtaken any more. */
  waitingSinceMs: number;
};

export type AcquireReply =
  /** Send after `waitMs`. `dueAtMs` (performance.now): the slot's time is not before this. */
  | { tag: 'slot'; key: Key; model: string; waitMs: number; dueAtMs: number; reservedNanoUsd: number }
  | { tag: 'wait'; waitMs: number; why: string }
  | { tag: 'none'; why: string; comesBackAtMs: number | null }
  | { tag: 'denied'; budget: 'batch' | 'day' | 'key' }
  | { tag: 'too_large'; limit: number }
  | { tag: 'halted'; status: string }
  | { tag: 'done' }
  | { tag: 'stale'; intent: Intent };

export type LimiterOptions = {
  redis: Redis;
  names: Names;
  workerId: string;
  dayBudgetNanoUsd?: number | null;
  /** How far ahead a slot may be reserved. Longer holds more slots for a worker that may die; shorter asks oftener. */
  horizonMs?: number;
  /** A time for the script, for tests; without it Redis' own clock decides. */
  now?: () => number;
};

const maxItemsPerCall = 64;
const defaultHorizonMs = 1000;
/** How soon to ask again when only another call's end can help (calls in flight, reserved money, a probe). */
const pollMs = 200;

/** Requests per window that an unknown limit is first taken for (learnt.lua). */
const firstGuess = 600;

export type Acquire = (request: AcquireRequest) => Promise<AcquireReply>;

/** Asks for one slot; asks of the same moment travel together. Rejects only when Redis cannot answer. */
export function createAcquire(options: LimiterOptions): Acquire {
  const script = loadScript(options.redis, 'acquire.lua', import.meta.url);
  return createBatcher(maxItemsPerCall, async (requests: AcquireRequest[]) => {
    const { keys, batches, buckets, ask } = shapeQuestion(requests, options);
    const { names } = options;
    const askedAtMs = performance.now();
    const reply = await script(
      [
        names.inflight,
        names.spend,
        ...batches.values.flatMap((id) => [names.batch(id), names.done(id)]),
        ...keys.values.map((key) => names.key(key.keyId)),
        ...buckets.values.map((id) => names.bucket(id)),
      ],
      [options.now ? String(options.now()) : '', JSON.stringify(ask)],
    );
    return (reply as string[][]).map((fields, index) =>
      parseReply(fields, requests[index] as AcquireRequest, keys.values, askedAtMs),
    );
  });
}

function shapeQuestion(requests: AcquireRequest[], options: LimiterOptions) {
  // By id: a configuration that is read again makes new objects of the same keys.
  const keys = distinct((key: Key) => key.keyId);
  const batches = distinct<string>();
  const buckets = distinct<string>();
  const sets = distinct((set: { keys: number[]; models: string[] }) => JSON.stringify(set));
  const setOf = ({ candidates }: AcquireRequest) => ({
    keys: candidates.map(({ key }) => keys.indexOf(key)),
    models: candidates.map(({ model }) => model),
  });
  const items = requests.map((request) => ({
    ref: lineRef(request.batchId, request.line),
    attempt: request.attemptId,
    batch: batches.indexOf(request.batchId),
    line: String(request.line),
    tokens: request.estimatedTokens,
    cost: request.estimatedCostNanoUsd,
    set: sets.indexOf(setOf(request)),
    waited: Math.max(0, Math.floor(performance.now() - request.waitingSinceMs)),
    stub: JSON.stringify({ customId: request.customId, requestedModel: request.requestedModel } satisfies IntentStub),
  }));
  const limits = keys.values.map((key) => ({
    id: key.keyId,
    bucket: buckets.indexOf(key.bucketId),
    // Absent in JSON = no limit.
    rpm: typeof key.rpm === 'number' ? key.rpm : undefined,
    auto: key.rpm === 'auto' ? firstGuess : undefined,
    autoMax: profileOf(key.provider.kind).mostRpm ?? undefined,
    tpm: typeof key.tpm === 'number' ? key.tpm : undefined,
    maxInFlight: key.maxInFlight ?? undefined,
    budget: key.budgetNanoUsd ?? undefined,
  }));
  const windows = new Map(keys.values.map((key) => [key.bucketId, windowShape(key.provider.windowMs)]));
  const ask = {
    worker: options.workerId,
    horizonMs: options.horizonMs ?? defaultHorizonMs,
    pollMs,
    dayBudget: options.dayBudgetNanoUsd ?? undefined,
    batches: batches.values.length,
    keys: limits,
    buckets: buckets.values.map((id) => ({ id, ...windows.get(id) })),
    sets: sets.values,
    items,
  };
  return { keys, batches, buckets, ask };
}

/**
 * The distinct values seen, in order: the first of those with the same identity. `indexOf` adds and returns the 1-based
 * position, as Lua counts.
 */
export function distinct<Value>(identityOf: (value: Value) => unknown = (value) => value) {
  const positions = new Map<unknown, number>();
  const values: Value[] = [];
  return {
    values,
    indexOf(value: Value): number {
      const identity = identityOf(value);
      const known = positions.get(identity);
      if (known !== undefined) return known;
      values.push(value);
      positions.set(identity, values.length);
      return values.length;
    },
  };
}

function parseReply(fields: string[], request: AcquireRequest, keys: Key[], askedAtMs: number): AcquireReply {
  const [tag = '', first = '', second = '', third = '', fourth = ''] = fields;
  switch (tag) {
    case 'slot': {
      const keyId = keys[Number(first) - 1]?.keyId;
      const key = request.candidates.find((candidate) => candidate.key.keyId === keyId)?.key;
      if (!key) break;
      const waitMs = Number(third);
      return { tag, key, model: second, waitMs, dueAtMs: askedAtMs + waitMs, reservedNanoUsd: Number(fourth) };
    }
    case 'wait':
      return { tag, waitMs: Number(first), why: second };
    case 'none':
      return { tag, why: first, comesBackAtMs: second === '0' ? null : Number(second) };
    case 'denied':
      if (first === 'batch' || first === 'day' || first === 'key') return { tag, budget: first };
      break;
    case 'too_large':
      return { tag, limit: Number(second) };
    case 'halted':
      return { tag, status: first };
    case 'done':
      return { tag };
    case 'stale':
      return { tag, intent: parseIntent(lineRef(request.batchId, request.line), first) };
    default:
  }
  throw new TypeError(`acquire.lua answered ${JSON.stringify(fields)}`);
}
