/** This machine: Node, the disk under the data directory, and the ledger's file. */
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import { formatCounted } from '../ledger/report.ts';
import { openLedgerFile } from '../ledger/sqlite-file.ts';
import { about, type Finding } from './finding.ts';

const oldestNode = 24;
/** Results and the ledger of a large batch are some hundred megabytes. */
const littleBytes = 1024 ** 3;
const tooLittleBytes = 100 * 1024 ** 2;
const fewInodes = 10_000;
const tooFewInodes = 1000;

export function checkNode(version = process.versions.node): Finding {
  const say = about('node', 'machine');
  if (Number.parseInt(version, 10) >= oldestNode) return say.ok(`Node.js ${version}`);
  const cure = `install Node.js ${oldestNode} or newer, or use the one that npm run setup brings`;
  return say.problem('Node.js is too old', `expected ${oldestNode} or newer, this is ${version}`, cure);
}

export function checkDisk(dataDir: string): Finding[] {
  const say = about('disk', 'machine');
  const elsewhere = 'give this user access, or choose another data directory with --data';
  const place = nearestThere(dataDir);
  try {
    accessSync(place, constants.W_OK | constants.X_OK);
  } catch (error) {
    return [say.problem('the data directory cannot be written', messageOf(error), elsewhere)];
  }
  try {
    return judgeDisk(dataDir, statfsSync(place));
  } catch (error) {
    return [say.warning('the file system does not tell its space', messageOf(error), 'look at it with: df')];
  }
}

export type DiskFacts = { bavail: number; bsize: number; files: number; ffree: number };

export function judgeDisk(dataDir: string, { bavail, bsize, files, ffree }: DiskFacts): Finding[] {
  const say = about('disk', 'machine');
  const free = bavail * bsize;
  const space = `${(free / 1024 ** 3).toFixed(1)} GB free in ${dataDir}`;
  const cure = 'free some space, or choose another data directory with --data';
  const level = free < tooLittleBytes ? 'problem' : free < littleBytes ? 'warning' : null;
  const findings = [level ? say[level]('the disk is nearly full', space, cure) : say.ok(space)];
  // Some file systems make them as they go, and count none.
  if (files === 0) return findings;
  const inodes = `${ffree} of ${files} inodes free in ${dataDir}`;
  const scarcity = ffree < tooFewInodes ? 'problem' : ffree < fewInodes ? 'warning' : null;
  const remedy = 'remove small files there, or choose another data directory with --data';
  findings.push(scarcity ? say[scarcity]('hardly any inodes are left', inodes, remedy) : say.ok(inodes));
  return findings;
}

function nearestThere(dir: string): string {
  let at = path.resolve(dir);
  while (!existsSync(at) && at !== path.dirname(at)) at = path.dirname(at);
  return at;
}

/** Opened as every command opens it; one that is not there yet is not made. */
export function checkLedger(dataDir: string): Finding {
  const say = about('ledger', 'machine');
  const file = path.join(dataDir, 'ledger.db');
  if (!existsSync(file)) return say.ok('there is no ledger yet', file);
  try {
    const database = openLedgerFile(file);
    try {
      const rows = Number(database.prepare('select count(*) as rows from ledger').get()?.['rows']);
      return say.ok(`the ledger opens: ${formatCounted(rows, 'row')}`, file);
    } finally {
      database.close();
    }
  } catch (error) {
    const [evidence = '', ...cure] = messageOf(error).split('; ');
    const usual = 'move it away, or restore it from a backup';
    return say.problem('the ledger does not open', evidence, cure.join('; ') || usual);
  }
}
