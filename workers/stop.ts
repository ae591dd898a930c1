/** What to say, what cures it, and with which exit code to stop, when no key is left that could serve a request. */
import type { Stop } from '../src/batch/batch.ts';
import type { Key } from '../src/keys/keyring.ts';
import { readStanding, type Standing } from '../src/keys/standing.ts';
import type { WorkerContext } from './context.ts';

type State = { key: Key } & Standing;

export async function stopForLackOfKeys(
  ctx: Pick<WorkerContext, 'redis' | 'names' | 'keyring'>,
  model: string,
  reply: { why: string; comesBackAtMs: number | null },
): Promise<Stop> {
  const states: State[] = await Promise.all(
    ctx.keyring.keys.map(async (key) => ({ key, ...(await readStanding(ctx.redis, ctx.names, key.keyId)) })),
  );
  const isSpent = states.some(({ reason }) => reason === 'exhausted' || reason === 'org_exhausted');
  const back = reply.comesBackAtMs === null ? '' : `; back ${new Date(reply.comesBackAtMs).toISOString()}`;
  const cures = curesOf(states);
  const cure = cures.length === 0 ? '' : `; ${cures.join(', or ')}`;
  return { code: isSpent ? 'budget' : 'credentials', cause: whatLacks(states, model) + back + cure };
}

function whatLacks(states: State[], model: string): string {
  const organisations = spentOrganisations(states);
  const others = states.filter(({ reason }) => reason !== 'org_exhausted');
  const list = others.map(({ key, standing, reason }) => `${key.name} ${reason || standing}`).join(', ');
  if (organisations.size === 0) return `no key is left for "${model}" (${list})`;
  const whose = [...organisations.values()].map((of) => `organisation "${of[0]?.key.org}" (${namesOf(of)})`);
  const rest = others.length === 0 ? '' : `, and no other key is left (${list})`;
  return `the budget of ${whose.join(' and that of ')} is exhausted${rest}`;
}

/** With their keys. The same name at another provider is another organisation. */
function spentOrganisations(states: State[]): Map<string, State[]> {
  const spent = states.filter(({ reason }) => reason === 'org_exhausted');
  return Map.groupBy(spent, ({ key }) => `${key.provider.name} ${key.org}`);
}

/** One for each kind of lack; any of them helps. */
function curesOf(states: State[]): string[] {
  const cures: string[] = [];
  const { size } = spentOrganisations(states);
  if (size > 0) cures.push(`raise ${size === 1 ? 'it' : 'one'}`);
  const exhausted = states.filter(({ reason }) => reason === 'exhausted');
  if (exhausted.length > 0) cures.push(`raise the budget of ${namesOf(exhausted, ' or ')} at the provider`);
  const drained = states.filter(({ standing }) => standing === 'draining');
  const [first] = drained;
  if (first) cures.push(`let ${namesOf(drained, ' or ')} send again: nightshift keys resume ${first.key.name}`);
  const isOther = ({ standing, reason }: State) =>
    standing === 'retired' && reason !== 'exhausted' && reason !== 'org_exhausted';
  const lost = states.filter(isOther);
  if (lost.length > 0) cures.push(`put a key that works in place of ${namesOf(lost, ' or ')}`);
  return cures;
}

function namesOf(states: readonly State[], between = ', '): string {
  return states.map(({ key }) => key.name).join(between);
}
