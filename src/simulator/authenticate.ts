/** Who is calling: a key in good standing, nobody (which some paths allow), or someone to be refused. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Refusal } from './dialect.ts';
import type { Key } from './keyring.ts';
import type { World } from './world.ts';

export type Caller =
  | { kind: 'key'; key: Key }
  | { kind: 'anonymous' }
  | { kind: 'refused'; refusal: Refusal; key?: Key };

export function authenticate(world: World, headers: IncomingHttpHeaders): Caller {
  const presented = world.scenario.dialect.presented(headers);
  if ('anonymous' in presented) return { kind: 'anonymous' };
  if ('refusal' in presented) return { kind: 'refused', refusal: presented.refusal };
  const key = world.keyring.byToken(presented.token);
  if (!key) return { kind: 'refused', refusal: { reason: 'unknown_token' } };
  if (key.revoked) return { kind: 'refused', refusal: { reason: 'key_revoked' }, key };
  // No grace: at the very millisecond of expiry the key is dead.
  if (key.expiresAtMs !== null && world.now() >= key.expiresAtMs) {
    return { kind: 'refused', refusal: { reason: 'key_expired' }, key };
  }
  return { kind: 'key', key };
}
