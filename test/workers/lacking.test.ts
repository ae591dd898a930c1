/** Workers with different keys on one Redis: what is said, and of which keys, when none of them can serve a line. */
import { expect, onTestFinished, test } from 'vitest';
import { loadBatch } from '../../src/batch/batch.ts';
import { loadConfig } from '../../src/config.ts';
import { announceKeys } from '../../src/keys/announced.ts';
import { createKeyring, type Key } from '../../src/keys/keyring.ts';
import { drainKey, readStanding, registerKeys } from '../../src/keys/standing.ts';
import { createSimulator } from '../../src/simulator/server.ts';
import { findCandidates } from '../../workers/candidates.ts';
import type { WorkerContext } from '../../workers/context.ts';
import { runLine, type LineStart } from '../../workers/line.ts';
import { stopForLackOfKeys } from '../../workers/stop.ts';
import { testRedis } from '../support/redis.ts';
import { startBatch } from './running-batch.ts';
import { startSmallWorkers } from './small-worker.ts';

const { url } = testRedis();
/** In no provider's book. */
const strangers = ['C', 'D'].map((letter) => `PMIND${letter.repeat(27)}:${'0123456789abcdef'.repeat(4)}`);
const text = '{"prompt":"Who has a key?"}';

/** A worker with these secrets; those of the simulator are what another, well configured one has. */
async function place(secrets: (tokens: string[]) => string[]) {
  const simulator = await createSimulator({ scenario: { keys: ['a', 'b', 'c'].map((name) => ({ name, rpm: null })) } });
  onTestFinished(() => simulator.close());
  const tokens = simulator.keys.map(({ token }) => token);
  const envOf = (list: string[]) => ({ PMIND_KEYS: list.join(','), PMIND_BASE_URL: simulator.baseUrl });
  const { names, workers } = await startSmallWorkers(url, 1, envOf(secrets(tokens)));
  const { ctx } = workers[0]!;
  const good = createKeyring(loadConfig({ cwd: '/', env: envOf(tokens) })).keys;
  const batch = await startBatch(ctx.redis, names);
  const start: LineStart = { ctx, lanes: noLanes, batch, line: 1, attemptsSpent: 0, held: null };
  return { ctx, good, batch, start };
}

/** None of the lines gets as far. */
const noLanes: LineStart['lanes'] = {
  take: () => Promise.reject(new Error('nobody was to take a slot')),
  poke: () => undefined,
};

/** As the other worker does. */
async function announce(ctx: WorkerContext, keys: readonly Key[]): Promise<void> {
  await registerKeys(ctx.redis, ctx.names, keys);
  for (const key of keys) await ctx.listings.get(key);
  await announceKeys(ctx.redis, ctx.names, keys, ctx.config);
}

async function standings({ redis, names, keyring }: WorkerContext): Promise<string[]> {
  const all = keyring.keys.map(async ({ keyId }) => {
    const { standing, reason } = await readStanding(redis, names, keyId);
    return reason === '' ? standing : `${standing} ${reason}`;
  });
  return Promise.all(all);
}

test('a worker whose keys are refused names the keys of the others, which a person drained, and lets these be resumed', async () => {
  const { ctx, good, batch, start } = await place(() => strangers);
  await announce(ctx, good);
  for (const { keyId } of good) await drainKey(ctx.redis, ctx.names, keyId);
  await runLine(start, text);
  const [one, two] = ctx.keyring.keys.map(({ keyId }) => keyId);
  const [first, second] = good.map(({ keyId }) => keyId);
  expect(await loadBatch(ctx.redis, ctx.names, batch.batchId)).toMatchObject({
    status: 'paused',
    stop: {
      code: 'credentials',
      cause:
        `no key is left for "fast" (privatemind-1 [${one}] invalid, privatemind-2 [${two}] invalid, ` +
        `privatemind-1 [${first}] drained, privatemind-2 [${second}] drained, privatemind-3 drained); ` +
        `let privatemind-1 [${first}] or privatemind-2 [${second}] or privatemind-3 send again ` +
        `(where that key is set up): nightshift keys resume ${first}, ` +
        `or put a key that works in place of privatemind-1 [${one}] or privatemind-2 [${two}]`,
    },
  });
  expect(await standings(ctx)).toEqual(['retired invalid', 'retired invalid']);
});

test('keys of other workers that do not offer the model are not named', async () => {
  const { ctx, good, start } = await place(() => strangers);
  await announce(ctx, good.slice(0, 1));
  await drainKey(ctx.redis, ctx.names, good[0]!.keyId);
  await runLine(start, '{"model":"unheard-of","prompt":"Who has a key?"}');
  const stopped = await loadBatch(ctx.redis, ctx.names, start.batch.batchId);
  expect(stopped?.stop?.cause).toBe(
    'no key is left for "unheard-of" (privatemind-1 invalid, privatemind-2 invalid); ' +
      'put a key that works in place of privatemind-1 or privatemind-2',
  );
});

test('beside a key that is drained, keys whose models are refused are retired and named so', async () => {
  const { ctx } = await place((tokens) => [...strangers, tokens[2]!]);
  await drainKey(ctx.redis, ctx.names, ctx.keyring.keys[2]!.keyId);
  const { cause } = await stopForLackOfKeys(ctx, 'fast', { comesBackAtMs: null, others: [] });
  expect(cause).toContain('(privatemind-1 invalid, privatemind-2 invalid, privatemind-3 drained)');
  expect(await standings(ctx)).toEqual(['retired invalid', 'retired invalid', 'draining drained']);
});

test('while another worker serves the lines, each refused key is retired, one at a time', async () => {
  const { ctx, good, start } = await place(() => strangers);
  await announce(ctx, good);
  for (const _ of strangers) expect(await runLine(start, text)).toMatchObject({ tag: 'held' });
  expect(await standings(ctx)).toEqual(['retired invalid', 'retired invalid']);
});

test('a provider that is out of reach for now is what counts, not the refused key of another one', async () => {
  const simulator = await createSimulator({ scenario: { provider: 'openai', keys: [{ name: 'a', revoked: true }] } });
  onTestFinished(() => simulator.close());
  const env = {
    PMIND_KEY: strangers[0]!,
    PMIND_BASE_URL: 'http://127.0.0.1:9',
    OPENAI_API_KEY: simulator.keys[0]!.token,
    OPENAI_BASE_URL: simulator.baseUrl,
  };
  const { names, workers } = await startSmallWorkers(url, 1, env);
  const { ctx } = workers[0]!;
  const found = await findCandidates(ctx, await startBatch(ctx.redis, names), 'fast');
  expect(ctx.keyring.keys.map(({ provider }) => provider.kind)).toEqual(['privatemind', 'openai']);
  expect(found).toMatchObject({
    tag: 'no_listing',
    key: { provider: { kind: 'privatemind' } },
    outcome: { tag: 'retry' },
  });
});
