import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ledgerOutcomes, type LedgerEntry } from '../../src/ledger/entry.ts';
import { explainSqliteError } from '../../src/ledger/sqlite-file.ts';
import { openSqliteLedger } from '../../src/ledger/sqlite.ts';
import { describeLedgerStore } from './contract.ts';
import { entry, numberedEntries, unknownEntry } from './entries.ts';

let directory: string;
let files = 0;
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'nightshift-ledger-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const newFile = (): string => path.join(directory, `${++files}`, 'ledger.db');
const sqliteModule = new URL('../../src/ledger/sqlite.ts', import.meta.url).href;

function readTable(file: string, where = '1'): Record<string, unknown>[] {
  const database = new DatabaseSync(file);
  try {
    const rows = database.prepare(`select * from ledger where ${where} order by attempt_id`).all();
    return rows.map((row) => ({ ...row }));
  } finally {
    database.close();
  }
}

/** Runs the lines of a module in a Node of its own. */
function runNode(code: string, shellPrefix = '') {
  const command = `${shellPrefix} exec "$0" --input-type=module -e "$1"`;
  return spawn('sh', ['-c', command, process.execPath, code], { stdio: ['pipe', 'pipe', 'pipe'] });
}

describeLedgerStore('SQLite', async () => openSqliteLedger(newFile()));

/** A file system of our own can be made read-only without harm to anybody; rights alone do not bind root. */
const readOnly = mkdtempSync(path.join(tmpdir(), 'nightshift-read-only-'));
const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=1m', 'tmpfs', readOnly]).status === 0;
afterAll(() => {
  if (isMounted) spawnSync('umount', ['-l', readOnly]);
  rmSync(readOnly, { recursive: true, force: true });
});

describe('the rows', () => {
  test('every field is kept, the time as ISO text in UTC', async () => {
    const file = newFile();
    const store = openSqliteLedger(file);
    await store.insert([entry()]);
    await store.close();
    expect(readTable(file)).toEqual([
      {
        attempt_id: 'b1-1#1',
        batch_id: 'b1',
        custom_id: 'request-1',
        line: 1,
        provider: 'privatemind',
        key_id: '0123456789ab',
        key_name: 'team-a',
        requested_model: 'fast',
        resolved_model: 'deepseek-v4-pro',
        outcome: 'completed',
        http_status: 200,
        error_code: null,
        started_at: '2026-03-14T09:26:53.589Z',
        duration_ms: 1234,
        input_tokens: 100,
        output_tokens: 20,
        cached_tokens: 10,
        reasoning_tokens: 5,
        cost_nano_usd: 4_213_000,
        cost_source: 'provider',
        request_id: 'chatcmpl-1',
        first_token_ms: null,
      },
    ]);
  });

  test('a ledger that is closed and opened again keeps its rows', async () => {
    const file = newFile();
    const first = openSqliteLedger(file);
    await first.insert(numberedEntries(3));
    await first.close();
    const second = openSqliteLedger(file);
    expect(await second.usage({ by: null })).toMatchObject([{ attempts: 3 }]);
    await second.close();
  });

  test('any order and repetition of the same entries gives the same table', async () => {
    const file = newFile();
    const stores = [openSqliteLedger(file), openSqliteLedger(file)] as const;
    let runs = 0;
    const knownOutcome = fc.constantFrom(...ledgerOutcomes.filter((outcome) => outcome !== 'unknown'));
    const attempt = fc.record({
      known: fc.option(fc.record({ outcome: knownOutcome, costNanoUsd: fc.option(fc.maxSafeNat()), line: fc.nat() })),
      isReaped: fc.boolean(),
    });
    const schedule = fc.array(fc.record({ picks: fc.array(fc.nat(), { maxLength: 8 }), store: fc.constantFrom(0, 1) }));
    await fc.assert(
      fc.asyncProperty(fc.array(attempt, { minLength: 1, maxLength: 6 }), schedule, async (attempts, repetitions) => {
        const batchId = `run-${++runs}`;
        const all: LedgerEntry[] = [];
        const expected: Record<string, unknown>[] = [];
        for (const [index, { known, isReaped }] of attempts.entries()) {
          const id = { attemptId: `${batchId}-${index}`, batchId };
          const versions = [...(known ? [entry({ ...known, ...id })] : []), ...(isReaped ? [unknownEntry(id)] : [])];
          all.push(...versions);
          const [last] = versions;
          if (last) {
            const { outcome, costNanoUsd, line } = last;
            expected.push({ attempt_id: id.attemptId, outcome, cost_nano_usd: costNanoUsd, line });
          }
        }
        // Repetitions in any order, then each entry at least once, in the order of the last draw.
        for (const { picks, store } of repetitions) {
          if (all.length > 0) await stores[store].insert(picks.map((pick) => all[pick % all.length]!));
        }
        const rotation = repetitions.length % Math.max(1, all.length);
        await stores[0].insert([...all.slice(rotation), ...all.slice(0, rotation)]);

        expect(readTable(file, `batch_id = '${batchId}'`)).toMatchObject(expected);
      }),
      { numRuns: 60 },
    );
    for (const store of stores) await store.close();
  });
});

describe('the file', () => {
  test('processes that create it at the same moment share it', async () => {
    // The moments that matter are short: many ledgers, each begun at one word, give many chances to meet.
    const ledgers = Array.from({ length: 40 }, newFile);
    const children = Array.from({ length: 4 }, (_, child) =>
      runNode(`
        import { createInterface } from 'node:readline';
        const { openSqliteLedger } = await import(${JSON.stringify(sqliteModule)});
        const entry = ${JSON.stringify(entry())};
        console.log('ready');
        for await (const file of createInterface(process.stdin)) {
          const store = openSqliteLedger(file);
          await store.insert([{ ...entry, attemptId: 'by-${child}' }, { ...entry, attemptId: 'shared' }]);
          await store.close();
          console.log('done');
        }
      `),
    );
    const complaints: string[] = [];
    for (const child of children) {
      child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString()));
      // A child that died tells why on stderr; the broken pipe would only hide it.
      child.stdin.on('error', () => {});
    }
    const exits = children.map(async (child) => once(child, 'close'));
    const answers = children.map((child) => createInterface(child.stdout)[Symbol.asyncIterator]());
    const allAnswer = async () => Promise.all(answers.map(async (lines) => lines.next()));
    await allAnswer();
    for (const file of ledgers) {
      for (const child of children) child.stdin.write(`${file}\n`);
      await allAnswer();
    }
    for (const child of children) child.stdin.end();
    const codes = (await Promise.all(exits)).map(([code]) => code as number);
    expect({ codes, complaints }).toEqual({ codes: [0, 0, 0, 0], complaints: [] });
    const attemptIds = ['by-0', 'by-1', 'by-2', 'by-3', 'shared'];
    for (const file of ledgers) expect(readTable(file).map((row) => row['attempt_id'])).toEqual(attemptIds);
  });

  test('a file that is not a database is refused by name and left alone', async () => {
    const file = newFile();
    mkdirSync(path.dirname(file));
    writeFileSync(file, 'dear diary\n'.repeat(200));
    expect(() => openSqliteLedger(file)).toThrow(
      expect.objectContaining({
        code: 'disk',
        message: expect.stringMatching(/ledger\.db is not a sound SQLite database/),
      }),
    );
    expect(readFileSync(file, 'utf8')).toMatch(/^dear diary/);
  });

  test('a schema of a newer version is refused and left alone', async () => {
    const file = newFile();
    const store = openSqliteLedger(file);
    await store.usage({ by: null });
    await store.close();
    const database = new DatabaseSync(file);
    database.exec('pragma user_version = 99');
    database.close();
    expect(() => openSqliteLedger(file)).toThrow(
      expect.objectContaining({
        code: 'config',
        message: expect.stringMatching(/ledger\.db has schema version 99.*update nightshift/),
      }),
    );
  });

  test('a directory that cannot be made is refused by name', () => {
    const file = newFile();
    mkdirSync(path.dirname(file));
    writeFileSync(file, '');
    expect(() => openSqliteLedger(path.join(file, 'below', 'ledger.db'))).toThrow(
      expect.objectContaining({ code: 'disk', message: expect.stringMatching(/cannot create the directory .*--data/) }),
    );
  });

  test.skipIf(!isMounted)('a read-only file system is told as such, with the directory that cannot be made', () => {
    const wanted = path.join(readOnly, 'data');
    expect(() => openSqliteLedger(path.join(wanted, 'ledger.db'))).toThrow(
      expect.objectContaining({
        code: 'disk',
        message: expect.stringMatching(new RegExp(`cannot create the directory ${wanted} .*EROFS.*--data`)),
      }),
    );
  });

  test('a ledger that is not there yet is made by the first use of it, and before that leaves nothing behind', async () => {
    const file = newFile();
    await openSqliteLedger(file).close();
    expect(existsSync(path.dirname(file))).toBe(false);
    const [one, other] = [openSqliteLedger(file), openSqliteLedger(file)];
    expect([one.isThere, other.isThere]).toEqual([false, false]);
    expect(one.id).toMatch(/^[0-9a-f]{32}$/);
    expect(other.isThere).toBe(true);
    expect(other.id).toBe(one.id);
    await one.close();
    await other.close();
  });

  test('a path that cannot be opened for writing is refused by name', () => {
    const file = newFile();
    mkdirSync(file, { recursive: true });
    expect(() => openSqliteLedger(file)).toThrow(
      expect.objectContaining({
        code: 'disk',
        message: expect.stringMatching(/ledger\.db cannot be opened for writing.*--data/),
      }),
    );
  });

  test('a disk that takes no more is an error of the disk, and what was committed stays', async () => {
    const file = newFile();
    const child = runNode(
      `
        const { openSqliteLedger } = await import(${JSON.stringify(sqliteModule)});
        const store = openSqliteLedger(${JSON.stringify(file)});
        const entry = ${JSON.stringify(entry())};
        await store.insert([entry]);
        const many = Array.from({ length: 5000 }, (_, i) => ({ ...entry, attemptId: 'many-' + i }));
        try { await store.insert(many); } catch (error) { console.log(error.code, error.message); }
        process.exit();
      `,
      // The one full disk that a test can have without being root: a limit on the size of files, in blocks of 512.
      'ulimit -f 512;',
    );
    const lines: string[] = [];
    createInterface(child.stdout).on('line', (line) => lines.push(line));
    await once(child, 'close');
    expect(lines).toEqual([expect.stringMatching(/^disk the ledger .*ledger\.db cannot/)]);
    expect(readTable(file)).toHaveLength(1);
  });

  test('a full disk says so and that nothing is lost', () => {
    const database = new DatabaseSync(':memory:');
    database.exec('pragma max_page_count = 2; create table t (x)');
    let full: unknown;
    try {
      database.exec('insert into t values (randomblob(100000))');
    } catch (error) {
      full = explainSqliteError('/data/ledger.db', error);
    }
    database.close();
    expect(full).toMatchObject({
      code: 'disk',
      message: expect.stringMatching(/\/data\/ledger\.db cannot grow: the disk is full .*nothing is lost/),
    });
  });
});
