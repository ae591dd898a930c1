/** Where a measurement happens: a temporary directory, the prompts, the upstream, and nightshift's configuration. */
import { createReadStream, createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { open } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { modelId } from './answer.ts';
import { startNode, type Child } from './children.ts';

export type Upstream = AsyncDisposable & {
  baseUrl: string;
  child: Child;
  /** Counts anew: `first` and `last` come after it. */
  expect: (count: number) => Promise<void>;
  answered: () => Promise<number>;
};

export type Moment = { atMs: number };

export function makeDirectory(): Disposable & { dir: string } {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-bench-'));
  return { dir, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

export async function startUpstream(): Promise<Upstream> {
  const child = startNode([path.join(import.meta.dirname, 'upstream.ts')]);
  const { port } = await child.until<{ port: number }>('listening');
  return {
    baseUrl: `http://127.0.0.1:${port}`,
    child,
    async expect(count) {
      child.send({ type: 'expect', count });
      await child.until('expecting');
    },
    async answered() {
      child.send({ type: 'count' });
      return (await child.until<{ answered: number }>('counted')).answered;
    },
    [Symbol.asyncDispose]: () => child.stop(),
  };
}

const topics = ['the harvest', 'a lighthouse', 'the last train', 'copper prices', 'a lost letter', 'the tide tables'];

/** About 400 bytes each, as OpenAI's batch files have them. */
export function promptLine(index: number, model: string = modelId): string {
  const id = String(index).padStart(9, '0');
  const topic = topics[index % topics.length];
  const content =
    `Case ${id}: summarise in two sentences what a careful clerk would note down about ${topic}, ` +
    'name the one figure that matters most, and say whether anybody has to be told before the morning.';
  const messages = [
    { role: 'system', content: 'You answer briefly and in plain words.' },
    { role: 'user', content },
  ];
  const body = { model, messages, max_tokens: 256, temperature: 0.2 };
  return JSON.stringify({ custom_id: `case-${id}`, method: 'POST', url: '/v1/chat/completions', body });
}

/** Writes prompts until there are so many lines, or bytes. Returns both. */
export async function writePrompts(file: string, until: { lines?: number; bytes?: number; model?: string }) {
  const out = createWriteStream(file);
  let bytes = 0;
  let lines = 0;
  const { lines: mostLines = Infinity, bytes: mostBytes = Infinity } = until;
  for (let text = ''; lines < mostLines && bytes < mostBytes; text = '') {
    for (let count = 0; count < 1000 && lines < mostLines && bytes + text.length < mostBytes; count += 1) {
      text += `${promptLine(lines, until.model)}\n`;
      lines += 1;
    }
    bytes += text.length;
    if (!out.write(text)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'close');
  return { lines, bytes };
}

export async function* readPrompts(file: string): AsyncGenerator<string> {
  for await (const line of createInterface({ input: createReadStream(file) })) if (line !== '') yield line;
}

const newline = 0x0a;

/** Bytes read; none where there is no file yet. */
async function readAt(file: string, block: Buffer, position: number): Promise<number> {
  await using handle = await open(file, 'r').catch(() => null);
  return handle ? (await handle.read(block, 0, block.length, position)).bytesRead : 0;
}

/** Resolves with the moment at which the file was seen to hold so many lines; stops looking when `gone` says so. */
export async function untilFileHolds(file: string, lines: number, gone: () => string | null): Promise<number> {
  const block = Buffer.allocUnsafe(1024 * 1024);
  let position = 0;
  let found = 0;
  for (;;) {
    const nowMs = performance.timeOrigin + performance.now();
    const why = gone();
    const read = await readAt(file, block, position);
    position += read;
    for (let at = block.indexOf(newline); at !== -1 && at < read; at = block.indexOf(newline, at + 1)) found += 1;
    if (read === block.length) continue;
    if (found >= lines) return nowMs;
    if (why !== null) throw new Error(`${file} holds ${found} of ${lines} lines: ${why}`);
    await sleep(10);
  }
}

export type KeyPlan = { name: string; secret: string; rpm: number | null };

const secretsPrefix = 'BENCH_KEY_';
const windowDefaultMs = 60_000;

/** nightshift's configuration in `dir`, and the environment that its commands need. */
export function configure(
  dir: string,
  options: { baseUrl: string; redisUrl: string; keys: KeyPlan[]; windowMs?: number; kind?: string; price?: boolean },
): NodeJS.ProcessEnv {
  const provider = 'bench';
  const kind = options.kind ?? 'openai';
  const config = {
    namespace: 'bench',
    redisUrl: options.redisUrl,
    providers: { [provider]: { kind, baseUrl: options.baseUrl, windowMs: options.windowMs ?? windowDefaultMs } },
    keys: options.keys.map(({ name, rpm }, index) => {
      return { name, provider, secretEnv: `${secretsPrefix}${index}`, rpm };
    }),
    prices: { [modelId]: { inputUsdPerMTok: 0.5, outputUsdPerMTok: 1.5 } },
  };
  writeFileSync(path.join(dir, 'nightshift.config.json'), JSON.stringify(config));
  const secrets = options.keys.map(({ secret }, index) => [`${secretsPrefix}${index}`, secret] as const);
  return { REDIS_URL: '', ...Object.fromEntries(secrets) };
}

const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');
/** What it starts itself anew with: then it does not, and the channel to it stays open. */
const asItStarts = '--max-semi-space-size=16';

export function startNightshift(args: string[], dir: string, env: NodeJS.ProcessEnv, nodeArgs: string[] = []): Child {
  return startNode([asItStarts, ...nodeArgs, command, ...args], { cwd: dir, env });
}
