/** What to say, and with which exit code to stop, when no key is left that could serve a request. */
import type { Stop } from '../src/batch/batch.ts';
import { readStanding } from '../src/keys/standing.ts';
import type { WorkerContext } from './context.ts';

export async function stopForLackOfKeys(
  ctx: WorkerContext,
  model: string,
  reply: { why: string; comesBackAtMs: number | null },
): Promise<Stop> {
  const states = await Promise.all(
    ctx.keyring.keys.map(async (key) => ({ key, ...(await readStanding(ctx.redis, ctx.names, key.keyId)) })),
  );
  const spent = states.filter(({ reason }) => reason === 'exhausted' || reason === 'org_exhausted');
  const list = states.map(({ key, standing, reason }) => `${key.name} ${reason || standing}`).join(', ');
  const back = reply.comesBackAtMs === null ? '' : `; back ${new Date(reply.comesBackAtMs).toISOString()}`;
  const organisation = states.find(({ reason }) => reason === 'org_exhausted');
  const cause = organisation
    ? `the budget of organisation "${organisation.key.org}" is exhausted (${list})${back}; raise it, then resume`
    : `no key is left for "${model}" (${list})${back}`;
  return { code: spent.length > 0 ? 'budget' : 'credentials', cause };
}
