/**
 * Asking a provider about a key without spending anything: its model listing and, where the provider has one that only
 * a working key may read, its usage page — PrivateMind's listing answers anonymous callers too, so a listing alone
 * proves nothing there (providers.md §1).
 */
import type { Key } from '../keys/keyring.ts';
import { parseJson, type Answer } from './answer.ts';
import { classify } from './classify.ts';
import type { Client } from './client.ts';
import { parseListing } from './models.ts';
import { profileOf } from './profile.ts';

export type KeyProbe = {
  ok: boolean;
  /** `revoked`, `expired`, `invalid`, …; `unreachable`, `wrong_url`; null when ok. */
  reason: string | null;
  message: string | null;
  httpStatus: number | null;
  /** Models listed for the key. */
  models: number | null;
};

export async function probeKey(client: Client, key: Key, redact: (text: string) => string): Promise<KeyProbe> {
  const profile = profileOf(key.provider.kind);
  const listing = await client.get(key, profile.modelsPath);
  const models = listing.tag === 'http' ? parseListing(parseJson(listing.body)) : null;
  const listed = verdict(key, listing, redact, models !== null);
  if (!listed.ok) return listed;
  const proof = profile.proofPath ? await client.get(key, profile.proofPath) : listing;
  return { ...verdict(key, proof, redact, true), models: models?.size ?? null };
}

function verdict(key: Key, answer: Answer, redact: (text: string) => string, isExpectedBody: boolean): KeyProbe {
  const httpStatus = answer.tag === 'http' ? answer.status : null;
  if (httpStatus === 200 && isExpectedBody) {
    return { ok: true, reason: null, message: null, httpStatus, models: null };
  }
  const outcome = classify(key.provider.kind, answer, { nowMs: Date.now(), redact });
  const message = 'message' in outcome ? outcome.message : 'answered with something else than a list of models';
  return { ok: false, reason: reasonOf(outcome, httpStatus), message, httpStatus, models: null };
}

function reasonOf(outcome: ReturnType<typeof classify>, httpStatus: number | null): string {
  if (outcome.tag === 'key_retired' || outcome.tag === 'org_retired') return outcome.reason;
  if (httpStatus === null) return 'unreachable';
  if (httpStatus === 200 || httpStatus === 404 || outcome.tag === 'misconfigured') return 'wrong_url';
  return outcome.tag;
}
