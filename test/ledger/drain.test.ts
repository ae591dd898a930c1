import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { createLedgerDrain, type LedgerDrainOptions } from '../../src/ledger/drain.ts';
import type { LedgerEntry } from '../../src/ledger/entry.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import type { LedgerStore } from '../../src/ledger/store.ts';
import { createNames, type Names } from '../../src/redis/names.ts';
import { entry, numberedEntries, unknownEntry } from './entries.ts';
import { ownRedis, type OwnRedis } from './redis.ts';

let server: OwnRedis;
let directory: string;
let redis: Redis;
let names: Names;
let file: string;
let store: LedgerStore;
let logged: Record<string, unknown>[];
let count = 0;
const batchId = 'b1';

const log = pino(
  { level: 'debug' },
  new Writable({
    write(line, _encoding, done) {
      logged.push(JSON.parse(String(line)) as Record<string, unknown>);
      done();
    },
  }),
);

beforeAll(async () => {
  server = await ownRedis();
  directory = mkdtempSync(path.join(tmpdir(), 'nightshift-drain-'));
  redis = server.connect();
});
afterAll(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(() => {
  names = createNames(`drain-${++count}`);
  file = path.join(directory, `${count}.db`);
  store = openSqliteLedger(file);
  logged = [];
});
afterEach(async () => store.close());

const createDrain = (changes: Partial<LedgerDrainOptions> = {}) =>
  createLedgerDrain({ redis, names, batchId, store, log, pollMs: 10, ...changes });

async function append(entries: LedgerEntry[]): Promise<void> {
  const pipeline = redis.pipeline();
  for (const one of entries) pipeline.xadd(names.ledger(batchId), '*', 'e', JSON.stringify(one));
  await pipeline.exec();
}

const attempts = async () => (await store.usage({ by: null }))[0]?.attempts;
const eventually = async (check: () => Promise<void>) => vi.waitFor(check, { timeout: 20_000, interval: 10 });

describe('one chunk', () => {
  test('moves entries into the store and out of the stream', async () => {
    await append([entry(), unknownEntry({ attemptId: 'b1-2#1' })]);
    const drain = createDrain();
    expect(await drain.drainOnce()).toBe(2);
    expect(await redis.xlen(names.ledger(batchId))).toBe(0);
    expect(await store.usage({ by: null })).toMatchObject([{ attempts: 2, completed: 1, possiblyBilled: 1 }]);
    expect(await drain.drainOnce()).toBe(0);
  });

  test('is all the calls that were settled together', async () => {
    const together = numberedEntries(40).flatMap((one) => ['e', JSON.stringify(one)]);
    await redis.xadd(names.ledger(batchId), '*', ...together);
    expect(await createDrain().drainOnce()).toBe(1);
    expect(await attempts()).toBe(40);
  });

  test('is bounded, and flush moves all the chunks there are', async () => {
    await append(numberedEntries(2500));
    const drain = createDrain();
    expect(await drain.drainOnce()).toBe(100);
    expect(await redis.xlen(names.ledger(batchId))).toBe(2400);
    await drain.flush();
    expect(await redis.xlen(names.ledger(batchId))).toBe(0);
    expect(await attempts()).toBe(2500);
  });

  test('is repeated after a crash between insert and delete, and every entry counts once', async () => {
    await append(numberedEntries(1200));
    const module = (name: string) => JSON.stringify(new URL(`../../src/${name}`, import.meta.url).href);
    const child = spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `
        const { Redis } = await import('ioredis');
        const { createLedgerDrain } = await import(${module('ledger/drain.ts')});
        const { openSqliteLedger } = await import(${module('ledger/sqlite.ts')});
        const { createNames } = await import(${module('redis/names.ts')});
        const { createLog } = await import(${module('log.ts')});
        const store = openSqliteLedger(${JSON.stringify(file)});
        const insert = store.insert;
        store.insert = async (entries) => { await insert(entries); process.kill(process.pid, 'SIGKILL'); };
        const redis = new Redis({ path: ${JSON.stringify(server.socket)} });
        await createLedgerDrain({ redis, store, names: createNames(${JSON.stringify(names.namespace)}), batchId: ${JSON.stringify(batchId)}, log: createLog() }).drainOnce();
        `,
      ],
      { stdio: ['ignore', 'inherit', 'inherit'], cwd: path.resolve(import.meta.dirname, '../..') },
    );
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
    expect(await attempts()).toBe(100);
    expect(await redis.xlen(names.ledger(batchId))).toBe(1200);
    await createDrain().flush();
    expect(await attempts()).toBe(1200);
    expect(await redis.xlen(names.ledger(batchId))).toBe(0);
  });

  test('leaves no empty stream behind, and none that has something in it is removed', async () => {
    await append([entry()]);
    const drain = createDrain();
    await drain.forgetEmpty();
    expect(await redis.xlen(names.ledger(batchId))).toBe(1);
    await drain.flush();
    expect(await redis.exists(names.ledger(batchId))).toBe(1);
    await drain.forgetEmpty();
    expect(await redis.exists(names.ledger(batchId))).toBe(0);
    await drain.forgetEmpty();
  });

  test('stays in the stream when the store cannot take it', async () => {
    await append([entry()]);
    const full: LedgerStore = {
      ...store,
      insert: async () => Promise.reject(new AppError('disk', 'the disk is full')),
    };
    await expect(createDrain({ store: full }).flush()).rejects.toMatchObject({ code: 'disk' });
    expect(await redis.xlen(names.ledger(batchId))).toBe(1);
    await createDrain().flush();
    expect(await attempts()).toBe(1);
  });

  test('sets entries aside that are none, as they came, and goes on with the rest', async () => {
    await redis.xadd(names.ledger(batchId), '1-1', 'e', '{"cut');
    await append([entry()]);
    const newer = JSON.stringify({ ...entry({ attemptId: 'newer' }), outcome: 'teleported' });
    await redis.xadd(names.ledger(batchId), '*', 'e', newer);
    await redis.xadd(names.ledger(batchId), '*', 'other', 'field');
    const farFuture = JSON.stringify(entry({ attemptId: 'far', startedAtMs: 8.64e15 + 1 }));
    await redis.xadd(names.ledger(batchId), '*', 'e', farFuture);
    await createDrain().flush();
    expect(await redis.xlen(names.ledger(batchId))).toBe(0);
    expect(await attempts()).toBe(1);
    const aside = (await redis.xrange(names.ledgerDead, '-', '+')).map(([, fields]) => fields);
    expect(aside).toEqual([
      ['id', '1-1', 'reason', expect.any(String), 'e', '{"cut'],
      ['id', expect.any(String), 'reason', expect.stringMatching(/^outcome: /), 'e', newer],
      ['id', expect.any(String), 'reason', 'no field "e"', 'other', 'field'],
      ['id', expect.any(String), 'reason', expect.stringMatching(/^startedAtMs: /), 'e', farFuture],
    ]);
    expect(logged).toMatchObject([{ level: 50, entries: 4, firstId: '1-1', stream: names.ledgerDead }]);
  });
});

describe('a started drain', () => {
  test('moves what comes until it is stopped', async () => {
    const drain = createDrain();
    drain.start();
    await append([entry()]);
    await eventually(async () => expect(await attempts()).toBe(1));
    await append(numberedEntries(1500));
    await eventually(async () => expect(await attempts()).toBe(1500));
    await drain.stop();
    await append([entry({ attemptId: 'later' })]);
    expect(await redis.xlen(names.ledger(batchId))).toBe(1);
  });

  test('leaves the entries of other batches alone, and two of one batch do no harm', async () => {
    await redis.xadd(names.ledger('other'), '*', 'e', JSON.stringify(entry({ attemptId: 'of another ledger' })));
    await using first = createDrain();
    await using second = createDrain();
    first.start();
    second.start();
    await append(numberedEntries(2500));
    await eventually(async () => expect(await redis.xlen(names.ledger(batchId))).toBe(0));
    await eventually(async () => expect(await attempts()).toBe(2500));
    expect(await redis.xlen(names.ledger('other'))).toBe(1);
  });

  test('tries on while the store cannot take entries, and says so once', async () => {
    let refusals = 3;
    const sick: LedgerStore = {
      ...store,
      insert: async (entries) => {
        if (refusals-- > 0) throw new AppError('disk', 'the disk is full');
        return store.insert(entries);
      },
    };
    await append([entry()]);
    await using drain = createDrain({ store: sick });
    drain.start();
    await eventually(async () => expect(await attempts()).toBe(1));
    await drain.stop();
    expect(logged.map(({ level, msg }) => [level, msg])).toEqual([
      [50, 'ledger cannot be drained, trying on'],
      [30, 'ledger is drained again'],
    ]);
  });

  test('goes on where it was after Redis was killed and came back', async () => {
    await using drain = createDrain();
    drain.start();
    await append([entry()]);
    await eventually(async () => expect(await attempts()).toBe(1));
    await server.kill();
    await server.start();
    await append([entry({ attemptId: 'after the outage' })]);
    await eventually(async () => expect(await attempts()).toBe(2));
  });

  test('stops although Redis is away', async () => {
    const drain = createDrain();
    drain.start();
    await append([entry()]);
    await eventually(async () => expect(await attempts()).toBe(1));
    await server.kill();
    await drain.stop();
    await server.start();
  });
});
