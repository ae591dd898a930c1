/**
 * The SQLite file under the ledger: opens it, brings its schema up to date, and says in words what SQLite says in
 * codes. Which rows are in it is sqlite.ts's business.
 */
import assert from 'node:assert/strict';
import { accessSync, constants, existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import type * as sqlite from 'node:sqlite';
import type { DatabaseSync } from 'node:sqlite';
import { AppError, messageOf } from '../errors.ts';
import { makeDirectory } from '../make-directory.ts';

/** Another process's transaction is one chunk of the drain or one migration: milliseconds. This is a sick disk. */
const busyTimeoutMs = 10_000;
const busyRetryMs = 20;

const migrationsDirectory = new URL('./migrations/', import.meta.url);

/** Primary result codes (sqlite.org/rescode.html); the extended ones carry them in their low byte. */
const resultCodes = {
  permission: 3,
  busy: 5,
  locked: 6,
  readOnly: 8,
  io: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notADatabase: 26,
};

/**
 * Opens or creates the file; safe when several processes do so at once. Errors: AppError `disk` where the file or its
 * disk is at fault, `config` where a newer nightshift has written it.
 */
export function openLedgerFile(file: string): DatabaseSync {
  const directory = path.dirname(file);
  try {
    makeDirectory(directory);
  } catch (cause) {
    const message = `cannot create the directory ${directory} for the ledger: ${messageOf(cause)}`;
    throw new AppError('disk', `${message}; choose another with --data`, { cause });
  }
  let database: DatabaseSync | undefined;
  try {
    const { DatabaseSync: Database } = loadSqlite();
    database = new Database(file, { timeout: busyTimeoutMs });
    refuseNewer(file, schemaVersion(database), latestVersion());
    useWriteAheadLog(database);
    // FULL, not WAL's usual NORMAL: an entry leaves Redis once it is committed here, so the commit must outlive a
    // power cut. It is one fsync per chunk.
    database.exec('pragma synchronous = full');
    migrate(file, database);
    return database;
  } catch (error) {
    database?.close();
    throw explainSqliteError(file, error);
  }
}

/** Whether this user may make it and its directory, as far as their rights tell. */
export function canMakeLedger(file: string): boolean {
  let at = path.dirname(path.resolve(file));
  while (!existsSync(at) && at !== path.dirname(at)) at = path.dirname(at);
  try {
    accessSync(at, constants.W_OK | constants.X_OK);
    return statSync(at).isDirectory();
  } catch {
    return false;
  }
}

/** Runs `work` in one transaction: all of it or nothing, and the cause in words. */
export function inTransaction<T>(
  file: string,
  database: DatabaseSync,
  kind: 'deferred' | 'immediate',
  work: () => T,
): T {
  try {
    database.exec(`begin ${kind}`);
    const result = work();
    database.exec('commit');
    return result;
  } catch (error) {
    // A full disk rolls back by itself.
    if (database.isOpen && database.isTransaction) database.exec('rollback');
    throw explainSqliteError(file, error);
  }
}

/** An SQLite error about the file as an AppError that names file and cure; anything else as it came. */
export function explainSqliteError(file: string, error: unknown): unknown {
  const code = resultCodeOf(error);
  if (code === null) return error;
  const because = (problem: string, cure: string) =>
    new AppError('disk', `the ledger ${file} ${problem} (SQLite: ${messageOf(error)}); ${cure}`, { cause: error });
  switch (code) {
    case resultCodes.full:
      return because(
        'cannot grow: the disk is full',
        'free some space and run the same command again, nothing is lost',
      );
    case resultCodes.io:
      return because('cannot be read or written', 'check the disk, its quota and its file size limit, then run again');
    case resultCodes.permission:
    case resultCodes.readOnly:
    case resultCodes.cannotOpen:
      return because(
        'cannot be opened for writing',
        'give this user write access to it and its directory, or choose another with --data',
      );
    case resultCodes.busy:
    case resultCodes.locked:
      return because(
        `was locked by another process for ${busyTimeoutMs / 1000} s`,
        'end what holds it (an SQLite shell, a backup) and run again; a network file system does not suit it',
      );
    case resultCodes.notADatabase:
    case resultCodes.corrupt:
      return because(
        'is not a sound SQLite database',
        'move it away, or restore it from a backup; a new one is made when it is missing',
      );
    default:
      return error;
  }
}

function resultCodeOf(error: unknown): number | null {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return null;
  return error.errcode & 0xff;
}

/** Node's first releases of 24 announce on loading that node:sqlite is experimental; users cannot act on that. */
function loadSqlite(): typeof sqlite {
  const emitWarning: unknown = Reflect.get(process, 'emitWarning');
  assert.ok(typeof emitWarning === 'function');
  process.emitWarning = (...args: unknown[]) => {
    if (args[1] !== 'ExperimentalWarning') Reflect.apply(emitWarning, process, args);
  };
  try {
    return process.getBuiltinModule('node:sqlite');
  } finally {
    Reflect.set(process, 'emitWarning', emitWarning);
  }
}

/** Readers (`nightshift usage`) and the drain do not wait for each other. */
function useWriteAheadLog(database: DatabaseSync): void {
  // The change to WAL fails at once while another process writes: SQLite's time-out does not cover this one case.
  const givesUpAtMs = performance.now() + busyTimeoutMs;
  for (;;) {
    try {
      database.exec('pragma journal_mode = wal');
      return;
    } catch (error) {
      if (resultCodeOf(error) !== resultCodes.busy || performance.now() > givesUpAtMs) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, busyRetryMs);
    }
  }
}

function migrate(file: string, database: DatabaseSync): void {
  const migrations = listMigrations();
  if (schemaVersion(database) === migrations.length) return;
  inTransaction(file, database, 'immediate', () => {
    // Read again under the write lock: another process may have migrated while this one waited for it.
    const version = schemaVersion(database);
    refuseNewer(file, version, migrations.length);
    for (const name of migrations.slice(version))
      database.exec(readFileSync(new URL(name, migrationsDirectory), 'utf8'));
    database.exec(`pragma user_version = ${migrations.length}`);
  });
}

/** `0001-….sql`, `0002-….sql`, …: the n-th brings the schema to version n. */
function listMigrations(): string[] {
  const names = readdirSync(migrationsDirectory)
    .filter((name) => name.endsWith('.sql'))
    .toSorted();
  for (const [index, name] of names.entries()) assert.equal(Number.parseInt(name, 10), index + 1, `gap before ${name}`);
  assert.ok(names.length > 0, 'the migrations are missing from the package');
  return names;
}

function latestVersion(): number {
  return listMigrations().length;
}

function schemaVersion(database: DatabaseSync): number {
  return Number(database.prepare('pragma user_version').get()?.['user_version']);
}

function refuseNewer(file: string, version: number, latest: number): void {
  if (version <= latest) return;
  throw new AppError(
    'config',
    `the ledger ${file} has schema version ${version}, this nightshift knows up to ${latest}: a newer one has written ` +
      'it; update nightshift, or choose another data directory with --data',
  );
}
