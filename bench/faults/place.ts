/**
 * One round's world: a directory, a Redis, simulated providers behind gates, three workers, and the `run` command as a
 * person types it. What strikes them is in strike.ts.
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import type { RoundScript } from './blows.ts';
import { startChild, type Child } from './child.ts';
import { openGate, type Gate } from './gate.ts';
import { startRedis, type RedisServer } from './redis-server.ts';
import { watch, type Witness } from './witness.ts';

/** `gate`: null where nothing cuts its network; then it is reached directly. */
export type Provider = { name: string; simulator: Simulator; gate: Gate | null };

export type Place = {
  dir: string;
  outDir: string;
  redis: RedisServer;
  providers: Provider[];
  witness: Witness;
  workers: Child[];
  /** The one whose results count: the last that was started. */
  run: () => Child;
  startRun: () => Child;
  /** In place of one that ended. */
  replaceWorker: (index: number) => void;
  /** Milliseconds that the wall clock of worker 0 is wrong by, from now on. */
  stepClock: (offsetMs: number) => void;
  /** True where the output directory is a file system of its own, which can be filled. */
  ownsDisk: boolean;
  close: (options: { keepFiles: boolean }) => Promise<void>;
};

export const workerCount = 3;
export const windowMs = 2000;
const outputBytes = 16 * 1024 * 1024;
const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');
const clock = path.resolve(import.meta.dirname, 'stepping-clock.ts');
export const names = { north: ['n1', 'n2', 'n3', 'n4'], south: ['s1', 's2', 's3', 's4'] } as const;

export function idOf(index: number): string {
  return `line-${String(index + 1).padStart(4, '0')}`;
}

export async function createPlace(script: RoundScript): Promise<Place> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-faults-'));
  const file = (name: string) => path.join(dir, name);
  const outDir = file('out');
  mkdirSync(outDir);
  const needsDisk = script.blows.some(({ kind }) => kind === 'fill_disk');
  const ownsDisk = needsDisk && (await mountOwnDisk(outDir));
  const providers = await Promise.all(script.rpms.map((rpms, index) => createProvider(script, rpms, index)));
  const witness = watch(new Map(providers.map(({ name, simulator }) => [name, simulator])));
  const redisDir = makeRedisDir(file('redis'));
  const redis = await startRedis(redisDir, file('redis.log'));
  const env = writeConfiguration(file('nightshift.config.json'), providers, redis.url);
  writeFileSync(file('in.jsonl'), Array.from({ length: script.lineCount }, (_, index) => lineOf(index)).join(''));

  const start = (name: string, args: string[], node: string[] = []) =>
    startChild(process.execPath, [...node, command, ...args], { cwd: dir, env, logFile: file(`${name}.log`) });
  const startWorker = (index: number) => {
    const args = ['worker', '--concurrency', '40', '--log-level', 'info'];
    return start(`worker-${index}`, args, index === 0 ? ['--import', clock] : []);
  };
  let run: Child;
  const startRun = () => {
    const args = ['run', 'in.jsonl', '--out', 'out', '--no-worker', '--attempts', '100', '--json'];
    return (run = start('run', [...args, '--log-level', 'info']));
  };
  const workers = Array.from({ length: workerCount }, (_, index) => startWorker(index));
  startRun();
  return {
    dir,
    outDir,
    redis,
    providers,
    witness,
    workers,
    run: () => run,
    startRun,
    ownsDisk,
    replaceWorker: (index) => void (workers[index] = startWorker(index)),
    stepClock: (offsetMs) => writeFileSync(file('clock'), String(offsetMs)),
    async close({ keepFiles }) {
      for (const child of [...workers, run]) {
        child.signal('SIGKILL');
        await child.ended;
      }
      witness.close();
      for (const { gate, simulator } of providers) {
        await gate?.close();
        await simulator.close();
      }
      await redis.stop();
      if (keepFiles && borrowed.has(redisDir)) await execute('cp', ['-a', redisDir, file('redis')]);
      if (borrowed.delete(redisDir)) await rm(redisDir, { recursive: true, force: true });
      if (keepFiles && ownsDisk) await execute('cp', ['-a', outDir, file('out.kept')]);
      if (ownsDisk) await unmountOwnDisk(outDir);
      if (!keepFiles) await rm(dir, { recursive: true, force: true });
    },
  };

  function writeConfiguration(to: string, of: Provider[], redisUrl: string): NodeJS.ProcessEnv {
    const secrets: Record<string, string> = { NIGHTSHIFT_CLOCK_FILE: file('clock') };
    const keys = of.flatMap(({ name: provider, simulator }) =>
      simulator.keys.map(({ name, token, rpm }) => {
        secrets[`KEY_${name.toUpperCase()}`] = token;
        return { name, provider, secretEnv: `KEY_${name.toUpperCase()}`, rpm };
      }),
    );
    const configured = of.map(({ name, simulator, gate }) => [
      name,
      { kind: 'privatemind', baseUrl: `http://127.0.0.1:${gate?.port ?? simulator.port}`, windowMs },
    ]);
    const config = { redisUrl, providers: Object.fromEntries(configured), keys, attemptTimeoutMs: 3000 };
    writeFileSync(to, JSON.stringify(config));
    return { ...process.env, REDIS_URL: '', ...secrets };
  }
}

async function createProvider(script: RoundScript, rpms: number[], index: number): Promise<Provider> {
  const [name, keyNames] = Object.entries(names)[index] as [string, readonly string[]];
  const simulator = await createSimulator({
    scenario: {
      windowMs,
      seed: (script.seed % 1_000_000) + index,
      latencyMs: { min: 20, max: 400 },
      outputTokens: { min: 10, max: 40 },
      keys: rpms.map((rpm, key) => ({ name: keyNames[key] as string, rpm, org: name })),
    },
  });
  const isCut = script.blows.some(({ kind }) => kind === 'cut_network' || kind === 'drop_network');
  return { name, simulator, gate: isCut ? await openGate(simulator.port) : null };
}

function lineOf(index: number): string {
  const content = `[${idOf(index)}] Why is the sky ${'very '.repeat(index % 30)}blue?`;
  const body = { model: 'fast', messages: [{ role: 'user', content }], max_tokens: 60 };
  return `${JSON.stringify({ custom_id: idOf(index), method: 'POST', url: '/v1/chat/completions', body })}\n`;
}

const inMemory = '/dev/shm';

/**
 * In memory where the system has a place for that: it is the server that dies here, not the disk, and syncing each
 * write to a disk that is busy with other things would make every answer wait.
 */
function makeRedisDir(otherwise: string): string {
  if (!existsSync(inMemory)) return otherwise;
  const dir = mkdtempSync(path.join(inMemory, 'nightshift-faults-'));
  borrowed.add(dir);
  return dir;
}

const execute = promisify(execFile);
/** File systems and memory that a bench which is interrupted must give back. */
const mounted = new Set<string>();
const borrowed = new Set<string>();
process.on('exit', () => {
  for (const at of mounted) execFileSync('umount', ['-l', at]);
  for (const dir of borrowed) rmSync(dir, { recursive: true, force: true });
});

/** A small file system in memory, which can be full for real; needs the right to mount. */
async function mountOwnDisk(at: string): Promise<boolean> {
  try {
    await execute('mount', ['-t', 'tmpfs', '-o', `size=${outputBytes}`, 'tmpfs', at]);
    mounted.add(at);
    return true;
  } catch {
    return false;
  }
}

async function unmountOwnDisk(at: string): Promise<void> {
  mounted.delete(at);
  await execute('umount', ['-l', at]);
}
