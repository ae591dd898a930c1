/**
 * Could another worker's keys serve what ours cannot? Workers may hold different keys; before a line fails or its batch
 * stops for want of a key here, this is asked. Then the line is left for whoever has the key.
 */
import { believedForMs, forgottenAfterMs, nameOf, readAnnounced, type Announced } from '../src/keys/announced.ts';
import { readStanding, type Standing } from '../src/keys/standing.ts';
import { parseJson } from '../src/provider/answer.ts';
import { parseListing, resolveModel, type Listing } from '../src/provider/models.ts';
import { preflight } from '../src/provider/preflight.ts';
import { pinned } from './candidates.ts';
import type { WorkerContext } from './context.ts';
import { pause } from './line-end.ts';
import type { LineResult, LineRun } from './line.ts';

export type Foreign = { key: Announced; name: string; standing: Standing; listing: Listing | null };

/** Lines by the thousand may ask the same. */
const knownForMs = 2000;
const offeredAgainMs = 2000;

export type Elsewhere = () => Promise<Foreign[]>;

/** The keys that live workers have and this one has not. */
export function createElsewhere({
  redis,
  names,
  keyring,
  absence,
}: Pick<WorkerContext, 'redis' | 'names' | 'keyring' | 'absence'>): Elsewhere {
  let known: { keys: Promise<Foreign[]>; atMs: number } | null = null;

  async function look(): Promise<Foreign[]> {
    const askedAtMs = performance.now();
    const announced = await readAnnounced(redis, names);
    // After an outage of Redis nobody has spoken for long: all get the time to.
    const wasAway = absence.wasLately(askedAtMs, believedForMs);
    const foreign = announced.filter(({ keyId, ageMs }) => {
      return !keyring.byId.has(keyId) && (wasAway ? ageMs <= forgottenAfterMs : ageMs <= believedForMs);
    });
    return Promise.all(
      foreign.map(async (key) => {
        const [name, standing, json] = await Promise.all([
          nameOf(redis, names, key.keyId),
          readStanding(redis, names, key.keyId),
          redis.hget(names.models(key.provider, key.keyId), 'json'),
        ]);
        return { key, name, standing, listing: json === null ? null : parseListing(parseJson(json)) };
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

/** What a line was estimated to need. Judged as acquire.lua does: else two workers could leave it to each other. */
export type Need = { tokens: number; costNanoUsd: number };
/** It failed for another reason than its size. */
const anySize: Need = { tokens: 0, costNanoUsd: 0 };

/** The line as it is left to a worker that can serve it, or null when no live worker can. */
export async function leftToOthers(run: LineRun, need: Need = anySize): Promise<LineResult | null> {
  if (!(await fittingElsewhere(run, need)).some(isOpen)) return null;
  return { tag: 'held', retryAtMs: Date.now() + offeredAgainMs };
}

/** Keys of other workers that could serve the line if they were open. */
export async function closedElsewhere(run: LineRun, need: Need = anySize): Promise<Foreign[]> {
  return (await fittingElsewhere(run, need)).filter((foreign) => !isOpen(foreign));
}

async function fittingElsewhere(run: LineRun, need: Need): Promise<Foreign[]> {
  const { ctx, batch, request } = run;
  const keys = await ctx.elsewhere();
  if (keys.length === 0) return [];
  const wanted = batch.options.pinModels ? await pinned(ctx, batch, request.model) : request.model;
  return keys.filter((foreign) => fits(foreign, run, { ...need, wanted }));
}

function isOpen({ standing }: Foreign): boolean {
  return standing.standing !== 'retired' && standing.standing !== 'draining';
}

/**
 * Nobody who lives can serve the line. May it fail for that? Not where we lack a provider that the batch was begun with:
 * its worker is not started yet, or is being replaced. Null: it may.
 */
export async function keptFromFailing(run: LineRun): Promise<LineResult | null> {
  const { ctx, batch, request } = run;
  const known = new Set(ctx.keyring.keys.map(({ provider }) => provider.name));
  for (const { key } of await ctx.elsewhere()) known.add(key.provider);
  const missing = batch.options.providers.filter((provider) => !known.has(provider));
  if (missing.length === 0) return null;
  // Both may have only just begun.
  const youngestMs = Math.min(performance.now(), Date.now() - batch.createdAtMs);
  if (youngestMs < believedForMs) return { tag: 'held', retryAtMs: Date.now() + offeredAgainMs };
  const cause =
    `no key of a live worker serves "${request.model}", and none can ask for the models of ${missing.join(', ')}, ` +
    'which the batch was begun with: no key of it is there, or it is refused. ' +
    'Start a worker with a key of it that works, or go on without one';
  return pause(run, { code: 'credentials', cause });
}

function fits(
  { key, standing, listing }: Foreign,
  { request, batch }: LineRun,
  need: Need & { wanted: string },
): boolean {
  if (key.budgetNanoUsd !== null && standing.spentNanoUsd + need.costNanoUsd > key.budgetNanoUsd) return false;
  if (key.tpm !== null && need.tokens > key.tpm) return false;
  const model = listing && resolveModel(listing, need.wanted, key);
  return model !== null && preflight(key.kind, model, request.body, batch.options).problems.length === 0;
}
