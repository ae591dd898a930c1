/**
 * Section "scripts": what a slot and an answer cost Redis, by how many keys can serve a request and how many lines ask
 * together. CPU of the server, the append-only file included; everything else of a batch left out.
 */
import { createAcquire, type AcquireReply } from '../../src/keys/limiter.ts';
import type { Key } from '../../src/keys/keyring.ts';
import { createSettle } from '../../src/keys/settle.ts';
import { createNames } from '../../src/redis/names.ts';
import { startRedis, type BenchRedis } from './redis.ts';
import { count, round, tableOf } from './statistics.ts';

export type ScriptsOptions = { keys: number[]; together: number[]; lines: number };

const batchId = 'batch_0123456789abcdef01234567';
const provider = { name: 'local', kind: 'openai', baseUrl: 'http://127.0.0.1', windowMs: 60_000, allowInsecure: false };
/** About what a short answer and its ledger row weigh. */
const result = 'x'.repeat(600);
const row = { text: 'x'.repeat(430) };

export async function measureScripts(options: ScriptsOptions, say: (text: string) => void) {
  say(`\nscripts: Redis CPU for the slot and the answer of a line, at most ${count(options.lines)} lines each`);
  const costs: { keys: number; together: number; acquireMicros: number; settleMicros: number }[] = [];
  for (const keys of options.keys) {
    for (const together of options.together) {
      await using redis = await startRedis();
      // A call that weighs a thousand keys takes milliseconds: fewer of them tell enough.
      const lines = Math.max(8 * together, Math.floor(options.lines / Math.ceil((8 * keys) / together)));
      costs.push({ keys, together, ...(await measure(redis, keys, together, lines)) });
    }
  }
  const rows = costs.map(({ keys, together, acquireMicros, settleMicros }) =>
    [keys, together, acquireMicros, settleMicros].map((value) => String(value)),
  );
  say(`\n${tableOf(['keys that can serve it', 'lines at once', 'acquire, µs/line', 'settle, µs/line'], rows)}`);
  return { scripts: costs };
}

async function measure(redis: BenchRedis, keyCount: number, together: number, lines: number) {
  const { client } = redis;
  const names = createNames('bench');
  await client.hset(names.batch(batchId), { status: 'in_progress' });
  const keys = Array.from({ length: keyCount }, (_, index) => keyNumber(index));
  const acquire = createAcquire({ redis: client, names, workerId: 'host/1/abcdef' });
  const settle = createSettle({ redis: client, names });
  const spent = { acquire: 0, settle: 0 };
  for (let line = 1; line <= lines; line += together) {
    const numbers = Array.from({ length: together }, (_, index) => line + index);
    const before = await redis.cpuMicros();
    const slots = await Promise.all(numbers.map((number) => acquire(askFor(number, keys))));
    const between = await redis.cpuMicros();
    await Promise.all(numbers.map((number, index) => settle(answerTo(number, slots[index]))));
    const after = await redis.cpuMicros();
    spent.acquire += between - before;
    spent.settle += after - between;
    if (line % 1024 < together) await client.del(names.results(batchId), names.ledger(batchId));
  }
  return { acquireMicros: round(spent.acquire / lines, 3), settleMicros: round(spent.settle / lines, 3) };
}

function keyNumber(index: number): Key {
  const keyId = index.toString(16).padStart(12, '0');
  const limits = { rpm: 1_000_000, tpm: null, maxInFlight: null, budgetNanoUsd: null, tpmCounts: 'used' };
  return { name: `key-${index}`, keyId, bucketId: keyId, org: 'bench', provider, ...limits } as unknown as Key;
}

const attemptOf = (line: number) => `${batchId}-${line}.0123abcd${line.toString(36)}`;

function askFor(line: number, keys: Key[]): Parameters<ReturnType<typeof createAcquire>>[0] {
  return {
    batchId,
    line,
    attemptId: attemptOf(line),
    customId: `request-${line}`,
    requestedModel: 'fast',
    candidates: keys.map((key) => ({ key, model: 'bench-model' })),
    estimatedTokens: 100,
    estimatedCostNanoUsd: 12_000,
    waitingSinceMs: performance.now(),
  };
}

function answerTo(line: number, slot: AcquireReply | undefined): Parameters<ReturnType<typeof createSettle>>[0] {
  if (slot?.tag !== 'slot') throw new Error(`expected a slot, got ${JSON.stringify(slot)}`);
  return {
    batchId,
    line,
    call: {
      attemptId: attemptOf(line),
      keyId: slot.key.keyId,
      bucketId: slot.key.bucketId,
      act: { kind: 'ok' },
      tokens: 80,
      costNanoUsd: 10_000,
      countsAsAttempt: true,
      ledger: row as never,
    },
    end: { to: 'output', text: result, errorCode: null, inputTokens: 60, outputTokens: 20 },
  };
}
