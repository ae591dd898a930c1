/** `nightshift keys`: each key's standing, its limits and what it has spent. */
import type { Command } from 'commander';
import type { Key } from '../keys/keyring.ts';
import { createKeyring, requireKeys } from '../keys/keyring.ts';
import { readStanding, type Standing } from '../keys/standing.ts';
import { readWindow, type WindowUse } from '../keys/window-use.ts';
import { formatCount, formatUsd } from '../ledger/report.ts';
import { registerKeyActions } from './keys-actions.ts';
import type { Globals } from './main.ts';
import { configOf, openSession } from './session.ts';
import { renderTable } from './table.ts';

type KeysOptions = Globals & { json?: boolean };
type Row = { key: Key; standing: Standing; use: WindowUse };

export function registerKeys(program: Command): void {
  const keys = program
    .command('keys')
    .description('Shows the keys and how they stand.')
    .addHelpText('after', '\nExamples:\n  $ nightshift keys\n  $ nightshift keys --json');
  keys
    .command('list', { isDefault: true })
    .description('Name, id, standing, window use, limits and spend of each key.')
    .option('--json', 'JSON on stdout')
    .addHelpText('after', '\nExamples:\n  $ nightshift keys list\n  $ nightshift keys list --json')
    // A default command is given whatever is no name of another one.
    .allowExcessArguments()
    .action(async (_: unknown, command: Command) => {
      const [unknown] = command.args;
      if (unknown !== undefined) keys.error(`nightshift: unknown command 'keys ${unknown}'`);
      await list(command.optsWithGlobals<KeysOptions>());
    });
  registerKeyActions(keys);
}

async function list(options: KeysOptions): Promise<void> {
  const config = configOf(options, { secrets: true });
  const keyring = createKeyring(config);
  requireKeys(keyring);
  await using session = await openSession(options, config);
  const { redis, names } = session;
  const rows: Row[] = [];
  for (const key of keyring.keys) {
    const standing = await readStanding(redis.client, names, key.keyId);
    rows.push({ key, standing, use: await readWindow(redis.client, names, key) });
  }
  if (options.json) process.stdout.write(`${JSON.stringify(rows.map(toJson))}\n`);
  else process.stdout.write(table(rows));
}

function toJson({ key, standing, use }: Row) {
  return {
    name: key.name,
    keyId: key.keyId,
    provider: key.provider.name,
    org: key.org,
    standing: standing.standing,
    reason: standing.reason === '' ? null : standing.reason,
    until: standing.untilMs === null ? null : new Date(standing.untilMs).toISOString(),
    limits: { rpm: key.rpm, tpm: key.tpm, windowMs: key.provider.windowMs, maxInFlight: key.maxInFlight },
    learnt: standing.learnt,
    window: use,
    inFlight: standing.inFlight,
    spentUsd: standing.spentNanoUsd / 1e9,
    budgetUsd: key.budgetNanoUsd === null ? null : key.budgetNanoUsd / 1e9,
  };
}

function table(rows: Row[]): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  // With one provider its column would only make the table too wide for a terminal.
  const providers = new Set(rows.map(({ key }) => key.provider.name));
  const ofProvider = <T>(cell: T): T[] => (providers.size > 1 ? [cell] : []);
  return renderTable(
    [
      { title: 'Key' },
      { title: 'Id' },
      ...ofProvider({ title: 'Provider' }),
      { title: 'Standing' },
      right('Requests'),
      right('Tokens'),
      right('In flight'),
      right('Spent'),
    ],
    rows.map(({ key, standing, use }) => [
      key.name,
      key.keyId,
      ...ofProvider(key.provider.name),
      describeStanding(standing),
      `${formatCount(use.requests)} / ${requestLimit(key, standing)}`,
      `${formatCount(use.tokens)} / ${limit(key.tpm)}`,
      String(standing.inFlight),
      formatUsd(standing.spentNanoUsd) + (key.budgetNanoUsd === null ? '' : ` / ${formatUsd(key.budgetNanoUsd)}`),
    ]),
  );
}

function describeStanding({ standing, reason, untilMs }: Standing): string {
  const until = untilMs === null ? '' : ` until ${new Date(untilMs).toISOString().slice(0, 19).replace('T', ' ')}`;
  return standing.replace('_', '-') + (reason === '' ? '' : ` (${reason})`) + until;
}

/** What is learnt stands with a sign that it is. */
function requestLimit({ rpm }: Key, { learnt }: Standing): string {
  if (rpm !== 'auto' || !learnt?.sure) return limit(rpm);
  return `\u2248${formatCount(learnt.top)}`;
}

function limit(value: number | 'auto' | null): string {
  if (value === null) return 'no limit';
  return value === 'auto' ? 'auto' : formatCount(value);
}
