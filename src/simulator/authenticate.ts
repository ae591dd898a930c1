/** Who is calling: a key in good standing, nobody (which some paths allow), or someone to be refused. */
import type { IncomingMessage } from 'node:http';
import type { Key } from './keyring.ts';
import type { Refusal, RefusalReason } from './refusal.ts';
import type { World } from './world.ts';

export type Caller =
  | { kind: 'key'; key: Key; hasUpstreamKey: boolean }
  | { kind: 'anonymous' }
  | { kind: 'refused'; refusal: Refusal; key: Key | null };

export function authenticate(world: World, request: IncomingMessage): Caller {
  const presented = world.scenario.dialect.presented(request.headers);
  if ('anonymous' in presented) return { kind: 'anonymous' };
  if ('refusal' in presented) return { kind: 'refused', refusal: presented.refusal, key: null };
  const key = world.keyring.byToken(presented.token);
  if (!key) return { kind: 'refused', refusal: { reason: 'unknown_token', value: presented.token }, key: null };
  const reason = faultOf(key, request, world);
  if (reason) return { kind: 'refused', refusal: { reason }, key };
  return { kind: 'key', key, hasUpstreamKey: presented.hasUpstreamKey ?? false };
}

/** What is wrong with a known key. */
function faultOf(key: Key, request: IncomingMessage, world: World): RefusalReason | null {
  if (key.revoked) return 'key_revoked';
  // No grace: at the very millisecond of expiry the key is dead.
  if (key.expiresAtMs !== null && world.now() >= key.expiresAtMs) return 'key_expired';
  if (key.rotatedAtMs !== null && world.now() >= key.rotatedAtMs) return 'key_rotated';
  if (key.trialEnded) return 'trial_ended';
  if (key.org.suspended) return 'org_suspended';
  const address = request.socket.remoteAddress ?? '';
  if (key.allowedIps && !key.allowedIps.has(address)) return 'ip_not_allowed';
  return null;
}
