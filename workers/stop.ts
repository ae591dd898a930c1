/** What to say, what cures it, and with which exit code to stop, when no key is left that could serve a request. */
import type { Stop } from '../src/batch/batch.ts';
import type { Announced } from '../src/keys/announced.ts';
import { readStanding, type Standing } from '../src/keys/standing.ts';
import type { Foreign } from './elsewhere.ts';
import { retireRefused } from './refused.ts';

type State = {
  /** As a person is told of it, and as a command takes it. */
  label: string;
  handle: string;
  /** This worker has it. */
  isOurs: boolean;
} & Pick<Announced, 'keyId' | 'org' | 'provider'> &
  Standing;

type Context = Parameters<typeof retireRefused>[0];

/** `others`: keys of other workers that could serve the request if they were open. */
export async function stopForLackOfKeys(
  ctx: Context,
  model: string,
  { comesBackAtMs, others }: { comesBackAtMs: number | null; others: readonly Foreign[] },
): Promise<Stop> {
  // A key that was never sent on does not know yet that it is refused.
  const open = (await ownStates(ctx)).filter(({ standing }) => standing !== 'retired' && standing !== 'draining');
  await retireRefused(
    ctx,
    ctx.keyring.keys.filter(({ keyId }) => open.some((state) => state.keyId === keyId)),
  );
  const theirs = others.map(({ key: { keyId, org, provider }, name, standing }): State => {
    return { keyId, label: name, handle: name, org, provider, isOurs: false, ...standing };
  });
  const states = toldApart([...(await ownStates(ctx)), ...theirs]);
  const isSpent = states.some(({ reason }) => reason === 'exhausted' || reason === 'org_exhausted');
  const times = [comesBackAtMs, ...theirs.map(({ untilMs }) => untilMs)].filter((time) => time !== null);
  const back = times.length === 0 ? '' : `; back ${new Date(Math.min(...times)).toISOString()}`;
  const cures = curesOf(states);
  const cure = cures.length === 0 ? '' : `; ${cures.join(', or ')}`;
  return { code: isSpent ? 'budget' : 'credentials', cause: whatLacks(states, model) + back + cure };
}

async function ownStates({ redis, names, keyring }: Context): Promise<State[]> {
  return Promise.all(
    keyring.keys.map(async ({ keyId, name, org, provider }) => {
      const standing = await readStanding(redis, names, keyId);
      return { keyId, label: name, handle: name, org, provider: provider.name, isOurs: true, ...standing };
    }),
  );
}

/** Workers may give one name to different keys. */
function toldApart(states: State[]): State[] {
  const byLabel = Map.groupBy(states, ({ label }) => label);
  return states.map((state) => {
    const isShared = (byLabel.get(state.label)?.length ?? 0) > 1;
    return isShared ? { ...state, label: `${state.label} [${state.keyId}]`, handle: state.keyId } : state;
  });
}

function whatLacks(states: State[], model: string): string {
  const organisations = spentOrganisations(states);
  const others = states.filter(({ reason }) => reason !== 'org_exhausted');
  const list = others.map(({ label, standing, reason }) => `${label} ${reason || standing}`).join(', ');
  if (organisations.size === 0) return `no key is left for "${model}" (${list})`;
  const whose = [...organisations.values()].map((of) => `organisation "${of[0]?.org}" (${namesOf(of)})`);
  const rest = others.length === 0 ? '' : `, and no other key is left (${list})`;
  return `the budget of ${whose.join(' and that of ')} is exhausted${rest}`;
}

/** With their keys. The same name at another provider is another organisation. */
function spentOrganisations(states: State[]): Map<string, State[]> {
  const spent = states.filter(({ reason }) => reason === 'org_exhausted');
  return Map.groupBy(spent, ({ provider, org }) => `${provider} ${org}`);
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
  // The command knows the keys of the machine that it runs on.
  const where = first?.isOurs === false ? ' (where that key is set up)' : '';
  if (first) cures.push(`let ${namesOf(drained, ' or ')} send again${where}: nightshift keys resume ${first.handle}`);
  const isOther = ({ standing, reason }: State) =>
    standing === 'retired' && reason !== 'exhausted' && reason !== 'org_exhausted';
  const lost = states.filter(isOther);
  if (lost.length > 0) cures.push(`put a key that works in place of ${namesOf(lost, ' or ')}`);
  return cures;
}

function namesOf(states: readonly State[], between = ', '): string {
  return states.map(({ label }) => label).join(between);
}
