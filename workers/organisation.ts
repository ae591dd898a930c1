/** Which keys an answer retires: its own, or all of its organisation, those that only other workers hold included. */
import type { Key } from '../src/keys/keyring.ts';
import type { WorkerContext } from './context.ts';

/** Key ids. An organisation is one provider's. */
export async function retiredWith(
  ctx: Pick<WorkerContext, 'keyring' | 'elsewhere'>,
  key: Key,
  outcome: 'key_retired' | 'org_retired',
): Promise<string[]> {
  if (outcome === 'key_retired') return [key.keyId];
  const ours = ctx.keyring.keys.filter(({ org, provider }) => org === key.org && provider.name === key.provider.name);
  const announced = await ctx.elsewhere().catch(() => []);
  const others = announced.filter(({ key: { org, provider } }) => org === key.org && provider === key.provider.name);
  // The key itself, too, where it has just left the keyring.
  return [...new Set([key.keyId, ...ours.map(({ keyId }) => keyId), ...others.map((other) => other.key.keyId)])];
}
