/**
 * The library: what a program needs to run a batch or to read what was spent, without the command line. It is the same
 * engine behind the same promises; a batch that was begun here is gone on with by `nightshift resume`, and the other way
 * round.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { AppErrorCode } from './errors.ts';
import { AppError } from './errors.ts';
import { loadBatch, type BatchRecord, type BatchStatus, type Stop } from './batch/batch.ts';
import { openInput } from './batch/input.ts';
import { usd } from './batch/manifest.ts';
import { continueBatch, setUpBatch } from './cli/batch-setup.ts';
import { openSession, type Session } from './cli/session.ts';
import { nanoUsdPerUsd, type Config } from './config.ts';
import { createKeyring, requireKeys, type Keyring } from './keys/keyring.ts';
import { reopenKeys } from './keys/standing.ts';
import { openSqliteLedger } from './ledger/sqlite.ts';
import type { LedgerStore, UsageQuery, UsageRow } from './ledger/store.ts';
import type { LogLevel } from './log.ts';
import { autoConcurrency } from '../workers/process.ts';
import { checkProviders } from '../workers/providers.ts';
import { runBatch as runPrepared } from '../workers/run.ts';

export { AppError, type AppErrorCode } from './errors.ts';
export { loadConfig, type Config, type ConfigOptions, type KeyConfig, type Price, type ProviderConfig } from './config.ts';
export { createKeyring, type Key, type Keyring } from './keys/keyring.ts';
export type { BatchStatus } from './batch/batch.ts';
export type { Totals, UsageGrouping, UsageQuery, UsageRow } from './ledger/store.ts';
