/** The catalogue of a scenario that names no models: of each sort that behaves differently, one. */
import { usualParameters, type Model } from './catalogue.ts';

/** Where models have second names, and where they have none. */
export function defaultModels(hasAliases: boolean): Model[] {
  return hasAliases ? aliasedModels() : plainModels();
}

function aliasedModels(): Model[] {
  return [
    {
      id: 'qwen3-30b-instruct',
      object: 'model',
      owned_by: 'qwen',
      context_length: 131_072,
      model_type: 'chat',
      capabilities: { tools: true, response_format: true },
      supported_parameters: usualParameters,
      aliases: ['fast', 'default'],
      cost: { input_per_m_token: 0.15, output_per_m_token: 0.6 },
    },
    {
      id: 'deepseek-v4-pro',
      object: 'model',
      owned_by: 'deepseek',
      context_length: 163_840,
      model_type: 'chat',
      capabilities: { tools: true, response_format: true, reasoning_effort: true },
      supported_parameters: [...usualParameters, 'reasoning', 'include_reasoning', 'reasoning_effort'],
      aliases: ['reasoning'],
      cost: { input_per_m_token: 0.55, output_per_m_token: 2.19, cache_read_per_m_token: 0.14 },
    },
    {
      id: 'pixtral-12b',
      object: 'model',
      owned_by: 'mistral',
      context_length: 32_768,
      model_type: 'vision-chat',
      capabilities: { image_input: true },
      supported_parameters: ['max_tokens', 'temperature', 'top_p', 'seed', 'stream', 'stop'],
      aliases: ['vision'],
      // Float noise as the real listing carries it.
      cost: { input_per_m_token: 0.15000000000000002, output_per_m_token: 0.15000000000000002 },
    },
    {
      id: 'bge-m3',
      object: 'model',
      owned_by: 'baai',
      context_length: 8192,
      model_type: 'embedding',
      capabilities: {},
      supported_parameters: [],
      aliases: [],
      cost: { input_per_m_token: 0.01, output_per_m_token: 0 },
    },
  ];
}

const reasoningParameters = [...usualParameters, 'reasoning_effort'];

function plainModels(): Model[] {
  const common: Pick<Model, 'object' | 'owned_by' | 'aliases'> = { object: 'model', owned_by: 'openai', aliases: [] };
  const chat = { ...common, context_length: 131_072, model_type: 'chat' };
  return [
    {
      ...chat,
      id: 'gpt-5-mini',
      capabilities: { tools: true, response_format: true },
      supported_parameters: usualParameters,
      cost: { input_per_m_token: 0.25, output_per_m_token: 2 },
    },
    {
      ...chat,
      id: 'gpt-5',
      capabilities: { tools: true, response_format: true, reasoning_effort: true },
      supported_parameters: reasoningParameters,
      cost: { input_per_m_token: 1.25, output_per_m_token: 10 },
    },
    // Listed, but not callable on chat.
    {
      ...chat,
      id: 'gpt-5-mini:batch',
      model_type: 'batch',
      capabilities: {},
      supported_parameters: [],
      cost: { input_per_m_token: 0.125, output_per_m_token: 1 },
    },
    {
      ...common,
      id: 'text-embedding-3-small',
      context_length: 8192,
      model_type: 'embedding',
      capabilities: {},
      supported_parameters: [],
      cost: { input_per_m_token: 0.02, output_per_m_token: 0 },
    },
  ];
}
