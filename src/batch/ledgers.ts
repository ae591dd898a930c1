/**
 * Whose ledger a batch's rows are in. Several data directories may share a Redis, each with a ledger of its own, and the
 * rows of a batch belong to the one it was begun with. Who comes from another directory is sent there while it can be
 * reached. When it is lost, the batch goes on beside it, and keeps in mind that its ledger is in parts.
 *
 * In the batch's record: `ledgerId`, where rows go now, and for each that may have some, `ledger:<id>`: its place.
 */
import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { AppError } from '../errors.ts';
import type { LedgerStore } from '../ledger/store.ts';
import type { Log } from '../log.ts';
import type { Redis } from '../redis/client.ts';
import type { Names } from '../redis/names.ts';
import type { BatchRecord } from './batch.ts';

/** `places`: by ledger id. Batches of earlier versions have none. */
export type BatchLedgers = { id: string | null; places: Record<string, Place> };
type Place = { directory: string; host: string };
type Batch = Pick<BatchRecord, 'name' | 'ledgers'>;
type Store = Pick<LedgerStore, 'id' | 'directory' | 'isThere'>;

const placeField = 'ledger:';

/** From the batch's hash. */
export function ledgersOf(raw: Record<string, string>): BatchLedgers {
  const places = Object.entries(raw).filter(([field]) => field.startsWith(placeField));
  return {
    id: raw['ledgerId'] ?? null,
    places: Object.fromEntries(
      places.map(([field, place]) => [field.slice(placeField.length), JSON.parse(place) as Place]),
    ),
  };
}

/** Is the batch's ledger another than this one? */
export function isElsewhere({ ledgers }: Pick<Batch, 'ledgers'>, store: Pick<Store, 'id' | 'isThere'>): boolean {
  // One that is not there yet is not made for the question.
  return ledgers.id !== null && (!store.isThere || ledgers.id !== store.id);
}

/** Where earlier rows are, when the batch has gone on beside them; most batches have none. */
export function otherLedgers({ ledgers }: Pick<Batch, 'ledgers'>): string[] {
  return Object.entries(ledgers.places).flatMap(([id, place]) => (id === ledgers.id ? [] : [describe(place)]));
}

/** To a person who asks for a finished batch in another data directory than its own. */
export function sayElsewhere({ name, ledgers }: Batch, { directory }: Store): string {
  const place = placeOf(ledgers);
  if (place?.directory === directory)
    return `The ledger of ${name} is no longer in ${directory}; another is there now.`;
  const where = place ? `another data directory, ${describe(place)}` : 'the data directory that it was begun with';
  return `The ledger of ${name} is in ${where}.`;
}

/**
 * Before a batch goes on: in the data directory that has its ledger, as long as that can be reached. For the holder of
 * its lease. Errors: `config`, naming the directory.
 */
export function refuseOtherLedger(batch: Batch, store: Store, log: Log): void {
  if (!isElsewhere(batch, store)) return;
  const place = placeOf(batch.ledgers);
  const { name } = batch;
  const isOnThisMachine = place?.host === os.hostname() && place.directory !== store.directory;
  if (isOnThisMachine && existsSync(path.join(place.directory, 'ledger.db'))) {
    throw new AppError(
      'config',
      `the ledger of ${name} is in ${place.directory}, and this command uses ${store.directory}; ` +
        'go on from where the batch was begun, or with its --data directory',
    );
  }
  const was = place ? `it was in ${describe(place)}` : 'it is in another data directory';
  log.warn(`a part of the ledger of ${name} is not here: ${was}; from now on it is written to ${store.directory}`);
}

/** From now on its rows go to this ledger. */
export async function useLedger(redis: Redis, names: Names, batchId: string, store: Store): Promise<void> {
  const place: Place = { directory: store.directory, host: os.hostname() };
  await redis.hset(names.batch(batchId), { ledgerId: store.id, [placeField + store.id]: JSON.stringify(place) });
}

function placeOf({ id, places }: BatchLedgers): Place | undefined {
  return id === null ? undefined : places[id];
}

function describe({ directory, host }: Place): string {
  return `${directory} (on ${host})`;
}
