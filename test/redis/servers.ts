/**
 * Redis as people run it, for tests: servers that can be killed and started again on their data, a primary with a
 * replica and Sentinels, a Cluster of three nodes. They end with us, even if we are killed, and are gone after the test.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { freePort, waitFor } from '../support/wait.ts';

export type Server = {
  port: number;
  dir: string;
  /** SIGKILL, SIGSTOP, SIGCONT: to the server itself. */
  signal: (name: NodeJS.Signals) => void;
  kill: () => Promise<void>;
  /** Again, on the same port and data. */
  start: () => Promise<void>;
  /** One command, on a connection of its own. */
  ask: (...command: [string, ...(string | number)[]]) => Promise<unknown>;
};

/** Prints the server's process id, and ends it when the standard input ends: with us, whatever becomes of us. */
const leash = `
exec 3<&0 </dev/null
"$@" 3<&- >/dev/null 2>&1 & server=$!
echo "$server"
( read -r never <&3; kill -KILL "$server" ) & watch=$!
wait "$server"; status=$?
kill "$watch"; wait "$watch"
exit "$status"
`;

/** `appendfsync always`: a disk that is slow delays the writes of `everysec`, and a SIGKILL then forgets them. */
const safe = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--maxmemory-policy', 'noeviction'];
const always = ['--bind', '127.0.0.1', ...safe];

/** `options` win over: append-only file, no eviction, loopback. */
export async function startServer(options: string[] = []): Promise<Server> {
  const dir = tempDir();
  const port = await freePort();
  return run(['--port', `${port}`, '--dir', dir, ...always, ...options], { dir, port });
}

function tempDir(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-servers-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

async function run(args: string[], { dir, port }: { dir: string; port: number }): Promise<Server> {
  let child: ChildProcessByStdio<Writable, Readable, null> | null = null;
  let pid = 0;
  const logFile = path.join(dir, 'server.log');

  async function start(): Promise<void> {
    const started = spawn('sh', ['-c', leash, 'test-redis', 'redis-server', ...args, '--logfile', logFile], {
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
    });
    child = started;
    pid = Number(String((await once(started.stdout, 'data'))[0]));
    await waitFor(async () => started.exitCode !== null || (await ping(port)), { what: 'redis-server starts' });
    if (started.exitCode !== null) throw new Error(`redis-server ended:\n${readFileSync(logFile, 'utf8')}`);
  }

  async function kill(): Promise<void> {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    process.kill(pid, 'SIGKILL');
    await ended;
  }

  await start();
  onTestFinished(kill);
  return {
    port,
    dir,
    signal: (name) => void process.kill(pid, name),
    kill,
    start,
    async ask(...[name, ...words]) {
      const client = new Redis(port, { lazyConnect: true, retryStrategy: null });
      client.on('error', () => {});
      try {
        await client.connect();
        return await client.call(name, words);
      } finally {
        client.disconnect();
      }
    },
  };
}

/** Any answer is a sign of life: a server that wants TLS only, or a password, says so. */
async function ping(port: number): Promise<boolean> {
  const client = new Redis(port, { lazyConnect: true, retryStrategy: null, enableReadyCheck: false });
  let refused = false;
  client.on('error', (error: Error) => (refused ||= error.message.includes('ECONNREFUSED')));
  try {
    await client.connect();
    await client.ping();
    return true;
  } catch {
    return !refused;
  } finally {
    client.disconnect();
  }
}

export type SentinelSet = { primary: Server; replica: Server; url: string };

/** A primary, its replica and a Sentinel that decides alone. */
export async function startSentinelSet(): Promise<SentinelSet> {
  const primary = await startServer(['--repl-diskless-sync-delay', '0']);
  const replica = await startServer(['--replicaof', '127.0.0.1', `${primary.port}`]);
  await waitFor(async () => String(await primary.ask('INFO', 'replication')).includes('state=online'));
  const sentinel = await startSentinel(primary.port);
  await waitFor(async () => String(await sentinel.ask('INFO', 'sentinel')).includes('status=ok'));
  await waitFor(async () => String(await sentinel.ask('INFO', 'sentinel')).includes('slaves=1'));
  // The first is not there: others are asked.
  return { primary, replica, url: `redis+sentinel://127.0.0.1:1,127.0.0.1:${sentinel.port}/main` };
}

async function startSentinel(primaryPort: number): Promise<Server> {
  const dir = tempDir();
  const port = await freePort();
  const file = path.join(dir, 'sentinel.conf');
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${dir}`,
    `sentinel monitor main 127.0.0.1 ${primaryPort} 1`,
    'sentinel down-after-milliseconds main 500',
    'sentinel failover-timeout main 4000',
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  return run([file, '--sentinel'], { dir, port });
}

export type ClusterSet = { nodes: Server[]; url: string; nodeOf: (key: string) => Promise<Server> };

const slots = 16_384;

/** Three primaries that share the slots. */
export async function startCluster(options: string[] = []): Promise<ClusterSet> {
  const busPorts = [await freePort(), await freePort(), await freePort()];
  const nodes = await Promise.all(
    busPorts.map((busPort) =>
      startServer([
        '--cluster-enabled',
        'yes',
        '--cluster-port',
        `${busPort}`,
        '--cluster-node-timeout',
        '1500',
        ...options,
      ]),
    ),
  );
  const [first] = nodes as [Server];
  for (const [index, node] of nodes.entries()) {
    const from = Math.floor((slots * index) / nodes.length);
    const to = Math.floor((slots * (index + 1)) / nodes.length) - 1;
    await node.ask('CLUSTER', 'ADDSLOTSRANGE', from, to);
    await node.ask('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    if (node !== first) await node.ask('CLUSTER', 'MEET', '127.0.0.1', first.port, busPorts[0] as number);
  }
  const isWhole = async (node: Server) => {
    const info = String(await node.ask('CLUSTER', 'INFO'));
    return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${nodes.length}`);
  };
  for (const node of nodes) await waitFor(() => isWhole(node), { timeoutMs: 20_000, what: 'the Cluster is whole' });
  return {
    nodes,
    url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    async nodeOf(key) {
      const slot = Number(await first.ask('CLUSTER', 'KEYSLOT', key));
      return nodes[Math.floor(((slot + 1) * nodes.length - 1) / slots)] as Server;
    },
  };
}
