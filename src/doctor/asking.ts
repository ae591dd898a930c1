/**
 * What each key is asked without spending anything: the model listing and the page that only a working key may read.
 * Nothing is judged here; base-url.ts, verdict.ts, budget.ts and clock.ts read the answers.
 */
import { parseJson, type Answer } from '../provider/answer.ts';
import type { Client, Sender } from '../provider/client.ts';
import { parseListing, type Listing } from '../provider/models.ts';
import { profileOf } from '../provider/profile.ts';
import type { Patient } from './key-form.ts';

/** An answer and the time, by this machine's clock, at which it was complete. */
export type Timed = { path: string; answer: Answer; atMs: number };

export type Asked = {
  patient: Patient;
  listing: Timed;
  /** Null when what came is no list of models. */
  models: Listing | null;
  /** Null where the provider has no such page. */
  proof: Timed | null;
};

export async function askKey(client: Client, patient: Patient): Promise<Asked> {
  const { modelsPath, proofPath } = profileOf(patient.key.provider.kind);
  const [listing, proof] = await Promise.all([
    get(client, patient.key, modelsPath),
    proofPath === null ? null : get(client, patient.key, proofPath),
  ]);
  return { patient, listing, models: modelsOf(listing.answer), proof };
}

export async function get(client: Client, sender: Sender, path: string): Promise<Timed> {
  const answer = await client.get(sender, path);
  return { path, answer, atMs: Date.now() };
}

export function modelsOf(answer: Answer): Listing | null {
  return answer.tag === 'http' && answer.status === 200 ? parseListing(parseJson(answer.body)) : null;
}
