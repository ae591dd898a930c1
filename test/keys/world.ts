/**
 * The limiter's world in small: keys, one batch and a clock that only the test moves, on the suite's Redis. Each world
 * has a namespace of its own. Times are milliseconds after `startMs`; replies are read as one short line.
 */
import { afterAll } from 'vitest';
import { lineRef } from '../../src/keys/intent.ts';
import type { Key } from '../../src/keys/keyring.ts';
import { createAcquire, type AcquireReply, type AcquireRequest, type LimiterOptions } from '../../src/keys/limiter.ts';
import { createSettle, type Call, type LineEnd, type SettleReply } from '../../src/keys/settle.ts';
import { createNames, type Names } from '../../src/redis/names.ts';
import type { TestRedis } from '../support/redis.ts';
import type { Redis } from 'ioredis';

/** Noon of a day, and the beginning of a slice. */
export const startMs = Date.UTC(2026, 2, 14, 12);
export const batchId = 'b1';

export type KeyShape = Partial<Omit<Key, 'keyId' | 'provider'>> & { windowMs?: number };

export function makeKey({ windowMs = 60_000, ...shape }: KeyShape = {}): Key {
  const name = shape.name ?? 'a';
  return {
    name,
    keyId: `id-${name}`,
    secret: 'secret',
    upstreamSecret: null,
    rpm: null,
    tpm: null,
    tpmCounts: 'used',
    maxInFlight: null,
    budgetNanoUsd: null,
    org: 'org',
    bucketId: `bucket-${name}`,
    provider: { name: 'sim', kind: 'privatemind', baseUrl: 'http://127.0.0.1:1', windowMs },
    ...shape,
  };
}

export type Ask = {
  line?: number;
  /** Default: `<line>.<n>`, new with each ask. */
  attempt?: string;
  tokens?: number;
  cost?: number;
  batch?: string;
  /** Names, in order; default: all. */
  keys?: string[];
  /** How long the line has waited for a slot. */
  waitedMs?: number;
};

export type Answered = Partial<Omit<Call, 'attemptId' | 'keyId' | 'bucketId'>> & { attempt?: string; end?: LineEnd };

export type World = {
  names: Names;
  redis: Redis;
  keys: Key[];
  clock: { now: number };
  /** Without a line: the next one above 1000. */
  ask: (ask?: Ask) => Promise<AcquireReply>;
  /** The answer to the call that a line's last slot was for; default: ok, nothing known of its usage. */
  settle: (line: number, answered?: Answered) => Promise<SettleReply>;
  /** Writes a key's standing, as an earlier answer would have. */
  setKey: (name: string, fields: Record<string, string | number>) => Promise<void>;
  hash: (name: string) => Promise<Record<string, string>>;
  /** Another process on the same Redis and clock; `keys` as its configuration has them. */
  other: (options: WorldOptions) => World;
};

export type WorldOptions = {
  keys?: KeyShape[];
  batch?: Record<string, string | number>;
  workerId?: string;
} & Pick<LimiterOptions, 'horizonMs' | 'dayBudgetNanoUsd'>;

let worlds = 0;

/** Call it once, beside `testRedis()`. */
export function createWorlds({ client, namespace }: TestRedis): (options?: WorldOptions) => Promise<World> {
  afterAll(async () => {
    for await (const keys of client.scanStream({ match: `{${namespace}.*`, count: 1000 })) {
      if (keys.length > 0) await client.unlink(...(keys as string[]));
    }
  });
  return async (options = {}) => {
    const names = createNames(`${namespace}.${(worlds += 1)}`);
    await client.hset(names.batch(batchId), { status: 'in_progress', ...options.batch });
    return openWorld(client, names, { now: startMs }, { line: 1000, attempt: 0 }, new Map(), options);
  };
}

type Slot = { attemptId: string; key: Key };

function openWorld(
  redis: Redis,
  names: Names,
  clock: { now: number },
  counters: { line: number; attempt: number },
  slots: Map<number, Slot>,
  options: WorldOptions,
): World {
  const keys = (options.keys ?? [{}]).map(makeKey);
  const now = () => clock.now;
  const acquire = createAcquire({ redis, names, workerId: 'worker-1', ...options, now });
  const settle = createSettle({ redis, names, now });
  return {
    names,
    redis,
    keys,
    clock,
    async ask(ask = {}) {
      const line = ask.line ?? (counters.line += 1);
      const attemptId = ask.attempt ?? `${line}.${(counters.attempt += 1)}`;
      const wanted = ask.keys ? ask.keys.map((name) => keys.find((key) => key.name === name) as Key) : keys;
      const request: AcquireRequest = {
        batchId: ask.batch ?? batchId,
        line,
        attemptId,
        customId: `request-${line}`,
        requestedModel: 'fast',
        candidates: wanted.map((key) => ({ key, model: `model-of-${key.name}` })),
        estimatedTokens: ask.tokens ?? 0,
        estimatedCostNanoUsd: ask.cost ?? 0,
        waitingSinceMs: performance.now() - (ask.waitedMs ?? 0),
      };
      const reply = await acquire(request);
      if (reply.tag === 'slot') slots.set(line, { attemptId, key: reply.key });
      return reply;
    },
    settle(line, { attempt, end, ...call } = {}) {
      const slot = slots.get(line);
      if (!slot) throw new Error(`line ${line} has no slot`);
      return settle({
        batchId,
        line,
        call: {
          attemptId: attempt ?? slot.attemptId,
          keyId: slot.key.keyId,
          bucketId: slot.key.bucketId,
          act: { kind: 'ok' },
          tokens: null,
          costNanoUsd: null,
          countsAsAttempt: true,
          ledger: null,
          ...call,
        },
        end: end ?? null,
      });
    },
    async setKey(name, fields) {
      await redis.hset(names.key(`id-${name}`), fields);
    },
    hash: (name) => redis.hgetall(name),
    other: (changed) => openWorld(redis, names, clock, counters, slots, { ...options, ...changed }),
  };
}

/** `slot a`, `slot a +350`, `wait 350 rate`, `none revoked`, `none exhausted, back +5000`, `denied day`, … */
export function read(reply: AcquireReply): string {
  switch (reply.tag) {
    case 'slot':
      return `slot ${reply.key.name}${reply.waitMs > 0 ? ` +${reply.waitMs}` : ''}`;
    case 'wait':
      return `wait ${reply.waitMs} ${reply.why}`;
    case 'none':
      return `none ${reply.why}${reply.comesBackAtMs === null ? '' : `, back +${reply.comesBackAtMs - startMs}`}`;
    case 'denied':
      return `denied ${reply.budget}`;
    case 'too_large':
      return `too_large ${reply.limit}`;
    case 'halted':
      return `halted ${reply.status}`;
    case 'done':
      return 'done';
    case 'stale':
      return `stale ${reply.intent.attemptId}`;
    default:
      return reply satisfies never;
  }
}

/** A line's end in the output file. */
export function completed(change: Partial<LineEnd> = {}): LineEnd {
  return { to: 'output', text: '{"answer":1}', errorCode: null, inputTokens: 7, outputTokens: 5, ...change };
}

export const ref = (line: number) => lineRef(batchId, line);

/** The outcomes of the ledger's rows on their way to SQL, oldest first. */
export async function ledgerOutcomes({ redis, names }: World): Promise<string[]> {
  const entries = await redis.xrange(names.ledger(batchId), '-', '+');
  return entries.map(([, fields]) => (JSON.parse(fields[1] as string) as { outcome: string }).outcome);
}
