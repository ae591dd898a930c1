/** What the upstream answers, always the same: a completion of a few hundred bytes with its usage, and one model. */

export const modelId = 'bench-model';

const text =
  'The night shift begins when the last of the day crew has gone. Lamps are lit along the line, the ledgers are opened, ' +
  'and whatever was left undone is taken up again in the order in which it came, until there is nothing left of it.';

export const completion = {
  id: 'chatcmpl-Bq7tVw2Zk1yNfH0aLr5sXe9dJc3Um',
  object: 'chat.completion',
  created: 1_767_225_600,
  model: modelId,
  choices: [
    { index: 0, message: { role: 'assistant', content: text, refusal: null }, logprobs: null, finish_reason: 'stop' },
  ],
  usage: {
    prompt_tokens: 61,
    completion_tokens: 52,
    total_tokens: 113,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  },
  system_fingerprint: 'fp_50cad350e4',
};

export const models = {
  object: 'list',
  data: [{ id: modelId, object: 'model', created: 1_767_225_600, owned_by: 'bench', context_length: 131_072 }],
};
