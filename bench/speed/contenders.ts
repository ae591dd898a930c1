/**
 * Who is measured, and what each of them does. All take the same lines, keep the same number of calls in flight, and
 * append one JSON line for each answer to a file.
 */

export const contenders = {
  a: {
    title: 'bare loop on undici',
    does: 'reads lines, posts each body through an undici Pool with N loops, appends the answer\u2019s bytes unread',
  },
  b: {
    title: 'openai SDK + p-limit',
    does: 'reads lines, client.chat.completions.create under p-limit(N), appends JSON.stringify of the answer',
  },
  c: {
    title: 'BullMQ + openai SDK',
    does:
      'one job per line, filled by addBulk (1000 a call; attempts 5, backoff, removeOnComplete); Worker with ' +
      'concurrency N, client.chat.completions.create, appends JSON.stringify of the answer',
  },
  d: {
    title: 'BullMQ + undici',
    does: 'as c, through an undici Pool; appends the answer\u2019s bytes unread',
  },
  e: {
    title: 'nightshift worker',
    does:
      'nightshift run --no-worker beside nightshift worker --concurrency N, which is measured: limiter (one key, a ' +
      'limit too high to bind), prices, ledger, exactly-once results',
  },
  f: {
    title: 'nightshift run, one process',
    does: 'nightshift run --concurrency N: producer, worker, collector and ledger in the process that is measured',
  },
} as const;

export type ContenderId = keyof typeof contenders;
export const contenderIds = Object.keys(contenders) as ContenderId[];
export type HomeMadeId = 'a' | 'b' | 'c' | 'd';

/** What a home-made contender's process is told; as JSON in its arguments. */
export type Task = {
  id: HomeMadeId | 'fill';
  input: string;
  output: string;
  baseUrl: string;
  concurrency: number;
  /** For those with a queue. */
  redisSocket: string;
};

/** A line of the input, as far as they look at it. */
export type Prompt = { custom_id: string; body: { model: string; messages: { role: 'user'; content: string }[] } };
