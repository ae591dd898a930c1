/** Which keys an answer retires: its own, or all of its organisation, those that only other workers hold included. */
import type { Key } from '../src/keys/keyring.ts';
import type { WorkerContext } from './context.ts';

type Retired = 'key_retired' | 'org_retired';

/** Our own keys, from this moment on: Redis is told after it has been asked for those of others. */
export function closeNow(ctx: Pick<WorkerContext, 'keyring' | 'closedAtMs'>, key: Key, outcome: Retired): void {
  for (const keyId of ours(ctx, key, outcome)) ctx.closedAtMs.set(keyId, performance.now());
}

/** Key ids. An organisation is one provider's. */
export async function retiredWith(
  ctx: Pick<WorkerContext, 'keyring' | 'elsewhere'>,
  key: Key,
  outcome: Retired,
): Promise<string[]> {
  const own = ours(ctx, key, outcome);
  if (outcome === 'key_retired') return own;
  const announced = await ctx.elsewhere().catch(() => []);
  const others = announced.filter(({ key: { org, provider } }) => org === key.org && provider === key.provider.name);
  return [...new Set([...own, ...others.map((other) => other.key.keyId)])];
}

/** The key itself, too, where it has just left the keyring. */
function ours({ keyring }: Pick<WorkerContext, 'keyring'>, key: Key, outcome: Retired): string[] {
  if (outcome === 'key_retired') return [key.keyId];
  const same = keyring.keys.filter(({ org, provider }) => org === key.org && provider.name === key.provider.name);
  return [key.keyId, ...same.map(({ keyId }) => keyId)];
}
