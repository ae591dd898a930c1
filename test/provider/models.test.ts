import { describe, expect, it, test } from 'vitest';
import { nearestNames, parseListing, resolveModel, type Listing } from '../../src/provider/models.ts';

const chat = { object: 'model', model_type: 'chat', supported_parameters: ['max_tokens'] };
const pro = {
  ...chat,
  id: 'deepseek-v4-pro',
  aliases: ['reasoning', 'default'],
  context_length: 131_072,
  cost: { input_per_m_token: 0.5, output_per_m_token: 1.1, cache_read_per_m_token: 0.05 },
};
const flash = { ...chat, id: 'qwen-flash', aliases: ['fast'], context_length: null };
const vision = { ...chat, id: 'qwen-vl', model_type: 'vision-chat', aliases: [] };
const embedder = { id: 'embed-small', model_type: 'embedding', supported_parameters: [], aliases: ['default-embed'] };

const list = (...data: unknown[]) => parseListing({ object: 'list', data });
const listing = list(pro, flash, vision, embedder) as Listing;
const noRules = { aliases: {}, fallbacks: {} };
const idOf = (requested: string, rules = {}) => resolveModel(listing, requested, { ...noRules, ...rules })?.id ?? null;

describe('a listing', () => {
  it('is read by id', () => {
    expect([...listing.keys()]).toEqual(['deepseek-v4-pro', 'qwen-flash', 'qwen-vl', 'embed-small']);
    expect(listing.get('deepseek-v4-pro')).toMatchObject({
      id: 'deepseek-v4-pro',
      aliases: ['reasoning', 'default'],
      contextLength: 131_072,
      callable: true,
      price: { inputUsdPerMTok: 0.5, outputUsdPerMTok: 1.1 },
    });
    expect(listing.get('qwen-flash')).toMatchObject({ contextLength: null, price: null });
  });

  test.each([undefined, null, 'text', [], {}, { data: null }, { data: {} }, { error: { message: 'no' } }])(
    'is none when it is %j',
    (json) => {
      expect(parseListing(json)).toBeNull();
    },
  );

  it('is empty when it lists nothing', () => {
    expect(list()?.size).toBe(0);
  });

  it('loses odd entries only, and of an odd field only that field', () => {
    const odd = {
      id: 'odd',
      aliases: 'fast',
      context_length: -1,
      model_type: 5,
      supported_parameters: 'all',
      cost: 'free',
    };
    const read = list(null, 5, 'qwen', {}, { id: '' }, { id: 7 }, odd, pro);
    expect([...(read ?? new Map()).keys()]).toEqual(['odd', 'deepseek-v4-pro']);
    expect(read?.get('odd')).toMatchObject({ aliases: [], contextLength: null, callable: true, price: null });
  });

  it('takes no price that is half or negative for a price', () => {
    const read = list(
      { ...pro, id: 'a', cost: { input_per_m_token: 1 } },
      { ...pro, id: 'b', cost: { input_per_m_token: -1, output_per_m_token: 1 } },
      { ...pro, id: 'c', cost: { input_per_m_token: '0.0000005', output_per_m_token: '0.0000011' } },
      { ...pro, id: 'd', cost: { input_per_m_token: 0, output_per_m_token: 0 } },
    );
    expect([...(read?.values() ?? [])].map(({ price }) => price)).toEqual([
      null,
      null,
      null,
      { inputUsdPerMTok: 0, outputUsdPerMTok: 0 },
    ]);
  });

  test.each([
    ['chat', { model_type: 'chat', supported_parameters: ['stop'] }, true],
    ['chat with images', { model_type: 'vision-chat', supported_parameters: ['stop'] }, true],
    ['of an unknown type', { supported_parameters: ['stop'] }, true],
    ['that lists no parameters at all', { model_type: 'chat' }, true],
    ['with an empty list of parameters', { model_type: 'chat', supported_parameters: [] }, false],
    ['of speech', { model_type: 'speech', supported_parameters: ['voice'] }, false],
  ])('tells whether a model answers completions: %s', (_, fields, callable) => {
    expect(list({ id: 'x', ...fields })?.get('x')?.callable).toBe(callable);
  });
});

describe('a requested name', () => {
  test.each([
    ['an id', 'qwen-flash', {}, 'qwen-flash'],
    ['an alias of the listing', 'reasoning', {}, 'deepseek-v4-pro'],
    ['a configured alias', 'quick', { aliases: { quick: 'qwen-flash' } }, 'qwen-flash'],
    ['a configured alias of an alias', 'quick', { aliases: { quick: 'fast' } }, 'qwen-flash'],
    ['the listing’s alias before the configured one', 'fast', { aliases: { fast: 'qwen-vl' } }, 'qwen-flash'],
    ['the first fallback that is there', 'gone', { fallbacks: { gone: ['lost', 'qwen-vl', 'qwen-flash'] } }, 'qwen-vl'],
    ['a fallback that is an alias', 'gone', { fallbacks: { gone: ['fast'] } }, 'qwen-flash'],
    [
      'the configured alias before a fallback',
      'gone',
      { aliases: { gone: 'qwen-vl' }, fallbacks: { gone: ['fast'] } },
      'qwen-vl',
    ],
    ['a fallback of a model that cannot chat', 'embed-small', { fallbacks: { 'embed-small': ['fast'] } }, 'qwen-flash'],
    ['nothing, for a model that cannot chat', 'embed-small', {}, null],
    ['nothing, for an alias of one', 'default-embed', {}, null],
    ['nothing, when only others have fallbacks', 'gone', { fallbacks: { other: ['fast'] } }, null],
    ['nothing, in other letters', 'QWEN-FLASH', {}, null],
  ])('is %s', (_, requested, rules, id) => {
    expect(idOf(requested, rules)).toBe(id);
  });

  it('is an id before an alias of another model', () => {
    const both = list({ ...pro, aliases: ['qwen-flash'] }, flash) as Listing;
    expect(resolveModel(both, 'qwen-flash', noRules)?.id).toBe('qwen-flash');
  });

  it('is an alias where the id of that name cannot chat', () => {
    const both = list({ ...embedder, id: 'fast' }, flash) as Listing;
    expect(resolveModel(both, 'fast', noRules)?.id).toBe('qwen-flash');
  });

  test.each(['constructor', 'toString', '__proto__', 'hasOwnProperty', ''])('may be anything, such as “%s”', (name) => {
    expect(idOf(name)).toBeNull();
  });
});

describe('the nearest names', () => {
  it('are ids and aliases of models that can chat, nearest first', () => {
    expect(nearestNames(listing, 'qwen-flsh').slice(0, 2)).toEqual(['qwen-flash', 'qwen-vl']);
    expect(nearestNames(listing, 'fats', 1)).toEqual(['fast']);
    expect(nearestNames(listing, 'embed-small')).not.toContain('embed-small');
  });

  it('do not mind capitals', () => {
    expect(nearestNames(listing, 'QWEN-FLASH', 1)).toEqual(['qwen-flash']);
    expect(nearestNames(listing, 'DeepSeek-V4', 1)).toEqual(['deepseek-v4-pro']);
  });

  it('are as many as asked for, and none where there are none', () => {
    expect(nearestNames(listing, 'x', 2)).toHaveLength(2);
    expect(nearestNames(new Map(), 'x')).toEqual([]);
  });

  // The time limit is the assertion: a prompt in the model's place must not hold up a worker.
  it('are found for a name of any length', { timeout: 10_000 }, () => {
    const many = list(...Array.from({ length: 500 }, (_, index) => ({ ...chat, id: `model-${index}` }))) as Listing;
    expect(nearestNames(many, 'model-7'.repeat(1_000_000))).toHaveLength(5);
  });
});
