/**
 * What a key may ask: whether its listing has chat models, and what `fast`, `reasoning` and the configured names mean on
 * it today. The listing is the key's own: a model it may not use is not there, or answers 403 (`--send`).
 */
import type { Config } from '../config.ts';
import { nearestNames, resolveModel, type Listing } from '../provider/models.ts';
import { about, type Finding } from './finding.ts';
import type { Patient } from './key-form.ts';

const usualAliases = ['fast', 'reasoning'];
const allowMore = 'look at the allowed models of the key and of its organisation; empty = all of them';

export function checkModels({ key }: Patient, models: Listing): Finding[] {
  const say = about('models', key.name);
  const callable = [...models.values()].filter((model) => model.callable);
  if (models.size === 0) return [say.problem('no model is listed for it', 'GET /v1/models: an empty list', allowMore)];
  if (callable.length === 0) {
    const others = [...models.keys()].slice(0, 3).join(', ');
    return [say.problem('none of its models answers chat completions', `${models.size} listed: ${others}`, allowMore)];
  }
  return [say.ok(`${callable.length} chat models of ${models.size}`)];
}

export function checkAliases({ key }: Patient, models: Listing, config: Config): Finding[] {
  const say = about('aliases', key.name);
  const aliases = config.aliases[key.provider.name] ?? {};
  const rules = { aliases, fallbacks: config.fallbacks };
  const names = new Set([...usualAliases, ...Object.keys(aliases), ...Object.keys(config.fallbacks)]);
  // Only PrivateMind promises these two; elsewhere they are there when somebody has configured them.
  const promised = new Set([...(key.provider.kind === 'privatemind' ? usualAliases : []), ...Object.keys(aliases)]);
  const resolved: string[] = [];
  const missing: string[] = [];
  for (const name of names) {
    const model = resolveModel(models, name, rules);
    if (model) resolved.push(`${name} → ${model.id}`);
    else if (promised.has(name)) missing.push(name);
  }
  if (missing.length === 0) return [say.ok(resolved.join(' · ') || 'no aliases; ask for models by their ids')];
  const near = nearestNames(models, missing[0] ?? '', 3).join(', ');
  const evidence = `${[...resolved, `${models.size} models listed`].join(' · ')}; near: ${near}`;
  const cure = `allow the model behind it for this key, or name one of its models under aliases.${key.provider.name} or fallbacks`;
  return [say.warning(`no model answers to ${missing.join(', ')}`, evidence, cure)];
}
