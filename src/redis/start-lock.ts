/**
 * The start lock: at most one process at a time starts or joins the embedded Redis of a data directory.
 * It is SQLite's own lock on an empty file, that is a lock of the kernel (fcntl): it ends with its holder, by `kill -9`
 * too, so there is no stale lock to recognise and no pid to mistake. Nothing is ever written to the file.
 */
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, messageOf } from '../errors.ts';

/** SQLite's result code for "somebody else holds it". */
const sqliteBusy = 5;

/** Takes the lock; null when others held it for all of `patienceMs`. Release it with `using` or `[Symbol.dispose]`. */
export async function takeStartLock(file: string, patienceMs: number): Promise<Disposable | null> {
  const deadlineMs = Date.now() + patienceMs;
  for (;;) {
    const lock = tryLock(file);
    if (lock) return lock;
    if (Date.now() >= deadlineMs) return null;
    // Random, so that several waiting processes do not knock in step.
    await sleep(10 + Math.random() * 30);
  }
}

function tryLock(file: string): Disposable | null {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { timeout: 0 });
    database.exec('BEGIN EXCLUSIVE');
    const held = database;
    return { [Symbol.dispose]: () => held.close() };
  } catch (cause) {
    database?.close();
    if (cause instanceof Error && 'errcode' in cause && Number(cause.errcode) % 256 === sqliteBusy) return null;
    const message = `cannot lock ${file}: ${messageOf(cause)}; choose a writable data directory on a local disk (--data)`;
    throw new AppError('disk', message, { cause });
  }
}
