/** `nightshift keys check|resume|drain`: asking the provider about each key, and a person's word about one of them. */
import type { Command } from 'commander';
import { AppError } from '../errors.ts';
import { createKeyring, requireKeys, type Key, type Keyring } from '../keys/keyring.ts';
import { drainKey, readStanding, reopenKeys } from '../keys/standing.ts';
import { formatCounted } from '../ledger/report.ts';
import { createClient } from '../provider/client.ts';
import { retireReasons } from '../provider/outcome.ts';
import { probeKey, type KeyProbe } from '../provider/probe.ts';
import type { Globals } from './main.ts';
import { configOf, openSession, type Session } from './session.ts';
import { renderTable } from './table.ts';

type Options = Globals & { json?: boolean };

const checkExamples = `
Examples:
  $ nightshift keys check
  $ nightshift keys check --json

Exit codes: 0 every key is good, 4 one is refused, 5 none is, but one could not
be asked.`;

export function registerKeyActions(keys: Command): void {
  keys
    .command('check')
    .description('Asks the provider about each key; spends nothing.')
    .option('--json', 'JSON on stdout')
    .addHelpText('after', checkExamples)
    .action(async (_: unknown, command: Command) => {
      process.exitCode = await check(command.optsWithGlobals<Options>());
    });
  keys
    .command('resume')
    .description('Lets a retired, cooling or draining key send again: one request first, the others when it succeeds.')
    .argument('<name>', 'the key\u2019s name')
    .addHelpText('after', '\nExample:\n  $ nightshift keys resume team-a')
    .action((name: string, _: unknown, command: Command) => onKey(command, name, resume));
  keys
    .command('drain')
    .description('Sends nothing more on a key; its calls in flight end. Undone by: nightshift keys resume.')
    .argument('<name>', 'the key\u2019s name')
    .addHelpText('after', '\nExample:\n  $ nightshift keys drain team-a')
    .action((name: string, _: unknown, command: Command) => onKey(command, name, drain));
}

async function check(options: Options): Promise<number> {
  const config = configOf(options, { secrets: true });
  const keyring = createKeyring(config);
  requireKeys(keyring);
  const client = createClient({ connections: keyring.keys.length, attemptTimeoutMs: config.attemptTimeoutMs });
  try {
    const probes = await Promise.all(
      keyring.keys.map(async (key) => ({ key, probe: await probeKey(client, key, keyring.redact) })),
    );
    if (options.json) process.stdout.write(`${JSON.stringify(probes.map(toJson))}\n`);
    else process.stdout.write(table(probes));
    if (probes.some(({ probe }) => isRefused(probe))) return new AppError('credentials', '').exitCode;
    return probes.every(({ probe }) => probe.ok) ? 0 : new AppError('provider', '').exitCode;
  } finally {
    await client.close();
  }
}

/** What else is not well says nothing of the key: nobody answered, or not as a provider does. */
function isRefused({ reason }: KeyProbe): boolean {
  return retireReasons.some((known) => known === reason);
}

type Probed = { key: Key; probe: KeyProbe };

function toJson({ key, probe }: Probed) {
  return { name: key.name, keyId: key.keyId, provider: key.provider.name, ...probe };
}

function table(probes: Probed[]): string {
  return renderTable(
    [{ title: 'Key' }, { title: 'Provider' }, { title: 'Verdict' }, { title: 'Models', align: 'right' }],
    probes.map(({ key, probe }) => [
      key.name,
      key.provider.name,
      probe.ok ? 'ok' : `${probe.reason}: ${probe.message}`,
      probe.models === null ? '' : String(probe.models),
    ]),
  );
}

async function onKey(
  command: Command,
  name: string,
  action: (session: Session, key: Key) => Promise<string>,
): Promise<void> {
  const options = command.optsWithGlobals<Options>();
  const config = configOf(options, { secrets: true });
  const key = findKey(createKeyring(config), name);
  await using session = await openSession(options, config);
  process.stderr.write(`${await action(session, key)}\n`);
}

function findKey(keyring: Keyring, name: string): Key {
  const key = keyring.keys.find((one) => one.name === name || one.keyId === name);
  if (key) return key;
  const known = keyring.keys.map((one) => one.name).join(', ');
  throw new AppError('usage', `no key "${name}"${known ? ` (known: ${known})` : ''}`);
}

async function resume({ redis, names }: Session, key: Key): Promise<string> {
  const { standing } = await readStanding(redis.client, names, key.keyId);
  if (standing === 'active') return `${key.name} is active already.`;
  await reopenKeys(redis.client, names, [key], { draining: true });
  return `${key.name} was ${standing.replace('_', '-')}; the next request tries it.`;
}

async function drain({ redis, names }: Session, key: Key): Promise<string> {
  const { inFlight } = await drainKey(redis.client, names, key.keyId);
  return `${key.name} is draining; ${formatCounted(inFlight, 'call')} ${inFlight === 1 ? 'is' : 'are'} in flight.`;
}
