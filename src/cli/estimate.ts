/**
 * `nightshift estimate`: tokens, cost and time of an input before any of it is sent. Asks providers for their model
 * listings, the ledger for the length of answers, and Redis, where there is one, for limits that were learnt. The table
 * goes to stdout, or with --json one object; remarks go to stderr.
 */
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import { estimateInput, type ModelPlan } from '../batch/estimate.ts';
import { openBatchInput } from '../batch/render.ts';
import type { KeyLimits } from '../batch/sending-time.ts';
import type { Config } from '../config.ts';
import { readShortAnswers } from '../ledger/answer-lengths.ts';
import { resolveModel } from '../provider/models.ts';
import { estimateJson, estimateRemarks, estimateTable } from './estimate-report.ts';
import { readKeyLimits } from './key-limits.ts';
import type { Globals } from './main.ts';
import { askOffers, keysIfAny, type KeyOffer } from './offers.ts';
import { addRowsOptions, rowsOptionsOf, type RowsFlags } from './rows-options.ts';

type EstimateOptions = RowsFlags & Globals & { offline?: boolean; json?: boolean };

const examples = `
Examples:
  $ nightshift estimate prompts.jsonl
  $ nightshift estimate reviews.csv --model fast --template 'About: {{text}}'
  $ nightshift estimate prompts.jsonl --json

Ranges go from what the batch hardly stays under to what it hardly exceeds.
Calls that are repeated are not in them. Nothing is sent but GET /v1/models.`;

export function registerEstimate(program: Command): void {
  const definition = program
    .command('estimate')
    .description('Shows what an input will use: tokens, money and time. Sends none of it.')
    .argument('<input>', 'JSONL file, or CSV with --template, also gzipped; - reads standard input')
    .option('--model <model>', 'model of the lines that name none');
  addRowsOptions(definition)
    .option('--offline', 'ask no provider for its models: only configured prices are known')
    .option('--json', 'one object on stdout')
    .addHelpText('after', examples)
    .action(async (source: string, _options: EstimateOptions, command: Command) => {
      await estimate(source, command.optsWithGlobals<EstimateOptions>());
    });
}

async function estimate(source: string, options: EstimateOptions): Promise<void> {
  // Of its own, as for a check: it must not outlive the command.
  const spoolDir = path.resolve(options.data ?? '.nightshift', 'spool', `estimate-${process.pid}`);
  try {
    const input = await openBatchInput(source, { spoolDir, rows: rowsOptionsOf(options) });
    const { config, keyring, remarks } = keysIfAny(options, { offline: options.offline ?? false });
    const asked = await askOffers(config, keyring);
    const limits = await readKeyLimits(options, config, asked.offers);
    const shortAnswers = readShortAnswers(path.join(config.dataDir, 'ledger.db'));
    const result = await estimateInput(input, {
      defaults: { model: options.model ?? null },
      planOf: (model) => planModel(model, { config, offers: asked.offers, limits: limits.byKeyId, shortAnswers }),
    });
    if (options.json) process.stdout.write(`${JSON.stringify(estimateJson(input, result))}\n`);
    else process.stdout.write(estimateTable(result));
    const hasKeys = keyring.keys.length > 0 || remarks.length > 0 || options.offline;
    const without = hasKeys ? [] : ['no API key is set: models, their prices and limits are not known'];
    const said = [...without, ...remarks, ...asked.remarks, ...limits.remarks, ...estimateRemarks(input, result)];
    for (const remark of said) process.stderr.write(`${remark}\n`);
  } finally {
    await rm(spoolDir, { recursive: true, force: true });
  }
}

type Known = {
  config: Pick<Config, 'aliases' | 'fallbacks' | 'prices'>;
  offers: readonly KeyOffer[];
  limits: ReadonlyMap<string, KeyLimits>;
  /** By resolved model. */
  shortAnswers: ReadonlyMap<string, number>;
};

/** What a requested model means on the keys there are. */
export function planModel(requested: string, { config, offers, limits, shortAnswers }: Known): ModelPlan {
  const { aliases, fallbacks, prices } = config;
  const unlisted = { id: requested, price: null, contextLength: null };
  const targets = offers.flatMap(({ key, provider, listing }) => {
    const rules = { aliases: aliases[provider.name] ?? {}, fallbacks };
    const model = listing ? resolveModel(listing, requested, rules) : unlisted;
    return model ? [{ key, model }] : [];
  });
  const models = targets.length > 0 ? targets.map(({ model }) => model) : [unlisted];
  const known = models.map(({ id, price }) => price ?? (Object.hasOwn(prices, id) ? prices[id] : null) ?? null);
  const lengths = models.flatMap(({ id }) => shortAnswers.get(id) ?? []);
  const contexts = models.flatMap(({ contextLength }) => contextLength ?? []);
  const isOffered = offers.length === 0 || targets.length > 0;
  return {
    resolved: [...new Set(targets.map(({ model }) => model.id))],
    isOffered,
    prices: isOffered && known.every((price) => price !== null) ? known : null,
    shortAnswerTokens: lengths.length > 0 ? Math.min(...lengths) : null,
    contextLength: contexts.length > 0 ? Math.max(...contexts) : null,
    keys: targets.flatMap(({ key }) => limits.get(key.keyId) ?? []),
  };
}
