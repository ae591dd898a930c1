/**
 * Could another worker's keys serve what ours cannot? Workers may hold different keys; before a line fails or its batch
 * stops for want of a key here, this is asked. Then the line is left for whoever has the key.
 */
import { readAnnounced, type Announced } from '../src/keys/announced.ts';
import { readStanding, type Standing } from '../src/keys/standing.ts';
import { parseJson } from '../src/provider/answer.ts';
import { parseListing, resolveModel, type Listing } from '../src/provider/models.ts';
import { preflight } from '../src/provider/preflight.ts';
import type { WorkerContext } from './context.ts';
import type { LineResult, LineRun } from './line.ts';

type Foreign = { key: Announced; standing: Standing; listing: Listing | null };

/** Lines by the thousand may ask the same. */
const knownForMs = 2000;
const offeredAgainMs = 2000;

export type Elsewhere = () => Promise<Foreign[]>;

/** The keys that live workers have and this one has not. */
export function createElsewhere({
  redis,
  names,
  keyring,
}: Pick<WorkerContext, 'redis' | 'names' | 'keyring'>): Elsewhere {
  let known: { keys: Promise<Foreign[]>; atMs: number } | null = null;
  async function look(): Promise<Foreign[]> {
    const foreign = (await readAnnounced(redis, names)).filter(({ keyId }) => !keyring.byId.has(keyId));
    return Promise.all(
      foreign.map(async (key) => {
        const [standing, json] = await Promise.all([
          readStanding(redis, names, key.keyId),
          redis.hget(names.models(key.provider, key.keyId), 'json'),
        ]);
        return { key, standing, listing: json === null ? null : parseListing(parseJson(json)) };
      }),
    );
  }
  return () => {
    if (known && performance.now() - known.atMs < knownForMs) return known.keys;
    const keys = look();
    known = { keys, atMs: performance.now() };
    keys.catch(() => (known = null));
    return keys;
  };
}

/** The line as it is left to a worker that can serve it, or null when no live worker can. `tokens`: that it needs. */
export async function leftToOthers(run: LineRun, tokens = 0): Promise<LineResult | null> {
  const keys = await run.ctx.elsewhere();
  if (!keys.some((foreign) => couldServe(foreign, run, tokens))) return null;
  return { tag: 'held', retryAtMs: Date.now() + offeredAgainMs };
}

function couldServe({ key, standing, listing }: Foreign, { request, batch }: LineRun, tokens: number): boolean {
  if (standing.standing === 'retired' || standing.standing === 'draining') return false;
  if (key.budgetNanoUsd !== null && standing.spentNanoUsd >= key.budgetNanoUsd) return false;
  if (key.tpm !== null && tokens > key.tpm) return false;
  const model = listing && resolveModel(listing, request.model, key);
  return model !== null && preflight(key.kind, model, request.body, batch.options).problems.length === 0;
}
