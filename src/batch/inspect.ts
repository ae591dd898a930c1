/**
 * Pre-flight of a whole input: is there a key whose model would take this line? What cannot be known forbids nothing.
 * Pure, but for a memory of the models it has met; runs once per line of the file, before the first cent is spent.
 * What one model refuses is provider/preflight.ts; workers ask the same question again, of the listings of that moment.
 */
import type { Config, ProviderKind } from '../config.ts';
import { nearestNames, resolveModel, type Listing } from '../provider/models.ts';
import { preflight, type Abilities, type PreflightProblem } from '../provider/preflight.ts';
import type { LineProblem } from './problem.ts';
import type { CompletionRequest } from './request.ts';

/** What a key has to offer. Keys that surely answer nothing are none. */
export type Offer = {
  provider: { name: string; kind: ProviderKind };
  /** Null: it could not be had, though the key may work. */
  listing: Listing | null;
};

export type InspectRules = Pick<Config, 'aliases' | 'fallbacks'> & { dropUnsupported: boolean };

/** `text` is the line as it stands in the file: it tells what the problem's field is called there. */
export type Inspect = {
  (request: CompletionRequest, line: number, text: string): LineProblem | null;
  /** What it was made of, plain data: another thread makes the same of it. */
  readonly grounds?: InspectGrounds;
};

export type InspectGrounds = { offers: Offer[]; rules: InspectRules };

/** A model that a request would be sent to. */
type Target = { kind: ProviderKind; abilities: Abilities };
type Resolution = { targets: Target[]; unknown: PreflightProblem | null };

/** Only its common ground is asked of a provider nobody knows: roles, order, empty messages. */
const nobody: Offer = { provider: { name: '', kind: 'openai' }, listing: null };
/** Names in a file are few, unless prompts stand where models should. */
const mostRemembered = 10_000;

/** Without offers only what no listing can change is looked at. */
export function createInspect(offers: readonly Offer[], rules: InspectRules): Inspect {
  const asked = offers.length === 0 ? [nobody] : offers;
  const known = new Map<string, Resolution>();
  const inspect = (request: CompletionRequest, line: number, text: string): LineProblem | null => {
    let resolution = known.get(request.model);
    if (!resolution) {
      if (known.size >= mostRemembered) known.clear();
      known.set(request.model, (resolution = resolve(asked, request.model, rules)));
    }
    const problem = resolution.unknown ?? firstProblem(resolution.targets, request, rules);
    if (!problem) return null;
    const { code, message } = problem;
    return { line, field: fieldIn(text, problem.field), code, message, customId: request.customId };
  };
  // No more of the offers than is asked of them: callers put their keys beside it.
  const grounds = {
    offers: offers.map(({ provider: { name, kind }, listing }) => ({ provider: { name, kind }, listing })),
    rules: { aliases: rules.aliases, fallbacks: rules.fallbacks, dropUnsupported: rules.dropUnsupported },
  };
  return Object.assign(inspect, { grounds });
}

/** Null when one of them would take it, else what the first one has against it. */
function firstProblem(
  targets: readonly Target[],
  { body }: CompletionRequest,
  { dropUnsupported }: InspectRules,
): PreflightProblem | null {
  let first: PreflightProblem | null = null;
  for (const { kind, abilities } of targets) {
    const [problem] = preflight(kind, abilities, body, { dropUnsupported }).problems;
    if (!problem) return null;
    first ??= problem;
  }
  return first;
}

function resolve(offers: readonly Offer[], model: string, { aliases, fallbacks }: InspectRules): Resolution {
  // Keys of one provider mostly offer the same model: it is looked at once.
  const targets = new Map<string, Target>();
  for (const { provider, listing } of offers) {
    const abilities: Abilities | null = listing
      ? resolveModel(listing, model, { aliases: aliases[provider.name] ?? {}, fallbacks })
      : { id: model, contextLength: null, supportedParameters: null, capabilities: null };
    const of = `${provider.name} ${listing ? abilities?.id : ''}`;
    if (abilities && !targets.has(of)) targets.set(of, { kind: provider.kind, abilities });
  }
  if (targets.size > 0) return { targets: [...targets.values()], unknown: null };
  const all = new Map(offers.flatMap(({ listing }) => [...(listing ?? [])]));
  const nearest = nearestNames(all, model);
  const advice = nearest.length > 0 ? `; the nearest names: ${nearest.join(', ')}` : '';
  const shown = model.length > longestShown ? `${model.slice(0, longestShown)}…` : model;
  const message = `no key offers the model "${shown}"${advice}`;
  return { targets: [], unknown: { code: 'model_not_found', field: 'model', message } };
}

const longestShown = 100;

/** A field of the body under the name that it has in the line, which may be a batch line or a short one. */
function fieldIn(text: string, field: string): string {
  const json = JSON.parse(text) as Record<string, unknown>;
  if ('body' in json) return `body.${field}`;
  const place = /^messages(?:\[(\d+)\])?/.exec(field);
  if (!place) return field;
  const hasSystem = typeof json['system'] === 'string';
  const index = Number(place[1] ?? (hasSystem ? 1 : 0));
  if (hasSystem && index === 0) return 'system';
  if (json['prompt'] !== undefined) return 'prompt';
  // The system prompt, which stands beside them, was put in front of them.
  return hasSystem && place[1] !== undefined ? `messages[${index - 1}]${field.slice(place[0].length)}` : field;
}
