/**
 * The models on offer, in the listing's wire form, and the aliases that point at them. Both change while the simulator
 * runs. An alias belongs to one model at a time; the concrete id always wins over an alias of the same name.
 */
import { z } from 'zod';
import { nanoUsdOf, priceOf } from './money.ts';

/** What a chat model accepts unless its entry says otherwise. */
export const usualParameters = [
  'max_tokens',
  'temperature',
  'top_p',
  'top_k',
  'seed',
  'frequency_penalty',
  'presence_penalty',
  'stream',
  'stop',
  'tools',
  'tool_choice',
  'response_format',
];

const usdPerMillion = z.number().nonnegative().max(1e6);
const capabilityNames = ['tools', 'response_format', 'reasoning_effort', 'image_input'] as const;

export const modelSchema = z.strictObject({
  id: z.string().min(1),
  object: z.literal('model').default('model'),
  owned_by: z.string().default('simulator'),
  context_length: z.number().int().positive().nullable().default(32_768),
  /** `chat` and `vision-chat` answer completions; other values exist. */
  model_type: z.string().default('chat'),
  /** Only true flags are present. */
  capabilities: z
    .partialRecord(z.enum(capabilityNames), z.literal(true))
    .default({ tools: true, response_format: true }),
  /** The complete list of what the model accepts; empty for what is not a chat model. */
  supported_parameters: z.array(z.string()).default(usualParameters),
  aliases: z.array(z.string().min(1)).default([]),
  /** Without it the model is free and its calls report no cost. */
  cost: z
    .strictObject({
      input_per_m_token: usdPerMillion,
      output_per_m_token: usdPerMillion,
      cache_read_per_m_token: usdPerMillion.optional(),
    })
    .optional(),
});
export type Model = z.infer<typeof modelSchema>;

export type Resolution = { kind: 'found'; model: Model } | { kind: 'removed' } | { kind: 'unknown' };

export class Catalogue {
  readonly #models = new Map<string, Model>();
  readonly #aliases = new Map<string, string>();
  /** Ids and aliases that were there once: asking for them is a 404, not a 400. */
  readonly #removed = new Set<string>();

  constructor(models: readonly Model[]) {
    for (const model of models) this.add(model);
  }

  resolve(name: string): Resolution {
    const model = this.#models.get(name) ?? this.#models.get(this.#aliases.get(name) ?? '');
    if (model) return { kind: 'found', model };
    return { kind: this.#removed.has(name) ? 'removed' : 'unknown' };
  }

  list(): Model[] {
    return [...this.#models.values()];
  }

  /** Adds a model or replaces the one of that id (a changed price, another context); takes its aliases from others. */
  add(model: Model): void {
    if (this.#models.has(model.id)) this.#forget(model.id);
    this.#models.set(model.id, { ...model, aliases: [] });
    this.#removed.delete(model.id);
    for (const alias of model.aliases) this.moveAlias(alias, model.id);
  }

  /** False when there is no such model. */
  remove(id: string): boolean {
    if (!this.#models.has(id)) return false;
    for (const name of [id, ...this.#forget(id)]) this.#removed.add(name);
    return true;
  }

  /** False when there is no such model. */
  moveAlias(alias: string, id: string): boolean {
    const target = this.#models.get(id);
    if (!target) return false;
    const holder = this.#models.get(this.#aliases.get(alias) ?? '');
    if (holder) holder.aliases = holder.aliases.filter((name) => name !== alias);
    target.aliases = [...target.aliases, alias];
    this.#aliases.set(alias, id);
    this.#removed.delete(alias);
    return true;
  }

  /** Takes the model out and returns the aliases it held. */
  #forget(id: string): string[] {
    const held = this.#models.get(id)?.aliases ?? [];
    for (const alias of held) this.#aliases.delete(alias);
    this.#models.delete(id);
    return held;
  }
}

export function isChatModel(model: Model): boolean {
  return (model.model_type === 'chat' || model.model_type === 'vision-chat') && model.supported_parameters.length > 0;
}

/** What a call costs, or null for a model without a price. */
export function costNanoUsdOf(model: Model, inputTokens: number, outputTokens: number): number | null {
  if (!model.cost) return null;
  return (
    priceOf(inputTokens, nanoUsdOf(model.cost.input_per_m_token)) +
    priceOf(outputTokens, nanoUsdOf(model.cost.output_per_m_token))
  );
}
