/**
 * The process of a home-made contender (contenders.ts says what each does): says "ready" when it could begin, begins on
 * "go", says "done" after its last line, and waits to be stopped, so that it can be measured to the end.
 */
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';
import { Queue, Worker } from 'bullmq';
import OpenAI from 'openai';
import pLimit from 'p-limit';
import { Pool } from 'undici';
import type { Prompt, Task } from './contenders.ts';
import { readPrompts } from './place.ts';

const task = JSON.parse(process.argv[2] ?? '') as Task;
const queueName = 'completions';
const linesPerAddBulk = 1000;
const output = task.id === 'fill' ? null : createWriteStream(task.output, { flags: 'a' });
process.on('disconnect', () => process.exit(0));

const say = (type: string, more: object = {}) => void process.send?.({ type, ...more });

async function whenTold(): Promise<void> {
  say('ready');
  await once(process, 'message');
}

/** One call; resolves with the answer as JSON text. */
type Ask = (prompt: Prompt) => Promise<string>;

function askByUndici(): Ask {
  const pool = new Pool(task.baseUrl, { connections: task.concurrency, pipelining: 1 });
  const headers = { authorization: 'Bearer bench', 'content-type': 'application/json', accept: 'application/json' };
  return async ({ body }) => {
    const answer = await pool.request({
      path: '/v1/chat/completions',
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
    return text;
  };
}

function askBySdk(): Ask {
  const client = new OpenAI({ apiKey: 'bench', baseURL: `${task.baseUrl}/v1` });
  return async ({ body }) => JSON.stringify(await client.chat.completions.create(body));
}

function append({ custom_id: customId }: Prompt, answer: string): void {
  output?.write(`{"custom_id":${JSON.stringify(customId)},"response":{"status_code":200,"body":${answer}}}\n`);
}

async function runBareLoop(): Promise<void> {
  const ask = askByUndici();
  const lines = readPrompts(task.input);
  await whenTold();
  const loop = async () => {
    for (let next = await lines.next(); !next.done; next = await lines.next()) {
      const prompt = JSON.parse(next.value) as Prompt;
      append(prompt, await ask(prompt));
    }
  };
  await Promise.all(Array.from({ length: task.concurrency }, loop));
}

async function runWithLimit(): Promise<void> {
  const ask = askBySdk();
  const limit = pLimit(task.concurrency);
  const lines: string[] = [];
  for await (const line of readPrompts(task.input)) lines.push(line);
  await whenTold();
  await limit.map(lines, async (line) => {
    const prompt = JSON.parse(line) as Prompt;
    append(prompt, await ask(prompt));
  });
}

const connection = { path: task.redisSocket, maxRetriesPerRequest: null };

/** Serves until it is stopped: the queue does not tell its end. */
async function serveQueue(ask: Ask): Promise<void> {
  const worker = new Worker<Prompt>(
    queueName,
    async ({ data }) => {
      append(data, await ask(data));
    },
    { connection, concurrency: task.concurrency, autorun: false },
  );
  worker.on('failed', (_, error) => console.error(error));
  await worker.waitUntilReady();
  await whenTold();
  await worker.run();
}

async function fill(): Promise<void> {
  const queue = new Queue<Prompt>(queueName, { connection });
  await queue.waitUntilReady();
  const opts = { attempts: 5, backoff: { type: 'exponential', delay: 1000 }, removeOnComplete: true };
  const startedAt = performance.now();
  let jobs: { name: string; data: Prompt; opts: typeof opts }[] = [];
  for await (const line of readPrompts(task.input)) {
    jobs.push({ name: 'completion', data: JSON.parse(line) as Prompt, opts });
    if (jobs.length < linesPerAddBulk) continue;
    await queue.addBulk(jobs);
    jobs = [];
  }
  if (jobs.length > 0) await queue.addBulk(jobs);
  say('filled', { ms: performance.now() - startedAt });
  await queue.close();
}

switch (task.id) {
  case 'a':
    await runBareLoop();
    break;
  case 'b':
    await runWithLimit();
    break;
  case 'c':
    await serveQueue(askBySdk());
    break;
  case 'd':
    await serveQueue(askByUndici());
    break;
  case 'fill':
    await fill();
    break;
  default:
    task.id satisfies never;
}
say('done');
