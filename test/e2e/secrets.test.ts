import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Redis } from 'ioredis';
import { expect, onTestFinished, test } from 'vitest';
import { startRedisServer, type TestServer } from '../support/redis-server.ts';
import { createWorld, expectExit, readResults, writeInput } from './support.ts';

/** Of a secret, so much may be seen; it takes more to be of use. */
const shortestPart = 12;

test('no part of a key is left anywhere, even when the provider echoes it in its errors', async () => {
  const server = await startRedisServer();
  onTestFinished(() => server.stop());
  const world = await createWorld({ keys: [{ name: 'a' }, { name: 'b' }], redisUrl: server.url });
  const echoes = ['a', 'b'].flatMap((name, index) => {
    const token = world.tokens[index] ?? '';
    const [id = '', secret = ''] = token.split(':');
    const said = [
      `Bearer ${token}`,
      id,
      secret,
      secret.slice(20, 44),
      secret.toUpperCase(),
      `${token.slice(0, 30)}...`,
    ];
    return said.map((part, at) => {
      const body =
        at % 2 === 0
          ? { error: { message: `Upstream refused "${part}"`, type: 'server_error', code: `echo ${part}`, key: part } }
          : `<html><body>Bad gateway for ${part}</body></html>`;
      return {
        kind: 'status' as const,
        status: 500,
        rate: 0.12,
        keys: [name],
        body,
        headers: { 'x-request-id': part },
      };
    });
  });
  world.simulator.control({ change: 'set_faults', faults: echoes });
  const ids = writeInput(world, { count: 150 });
  const args = ['run', 'in.jsonl', '--out', 'out', '--json', '--attempts', '2', '--log-level', 'debug'];
  const ended = await world.nightshift(args);
  expectExit(ended, 1);
  // The last words of the provider are in the error file: there is something to be hidden.
  const { errors } = readResults(world, ids);
  expect(errors.length).toBeGreaterThan(10);
  expect(JSON.stringify(errors)).toContain('[key a]');
  const shown = [
    await world.nightshift(['keys']),
    await world.nightshift(['keys', '--json']),
    await world.nightshift(['status', 'in', '--json']),
    await world.nightshift(['usage', '--json', '--log-level', 'trace']),
  ];

  const places = new Map<string, string>();
  for (const [index, { stdout, stderr }] of [ended, ...shown].entries()) {
    places.set(`stdout of command ${index}`, stdout).set(`stderr of command ${index}`, stderr);
  }
  for (const [place, text] of [...filesIn(world.dir), ...filesIn(server.dir), ...(await valuesIn(server))]) {
    places.set(place, text);
  }
  const names = [...places.keys()].join('\n');
  for (const part of ['in.output.jsonl', 'in.errors.jsonl', 'in.manifest.json', 'ledger.db', '.aof', ':batch:']) {
    expect(names).toContain(part);
  }
  expect(
    [...places].flatMap(([place, text]) => partsOfKeys(text, world.tokens).map((part) => `${place}: ${part}`)),
  ).toEqual([]);
});

/** Every stretch of a token that occurs in the text, in capitals or not. */
function partsOfKeys(text: string, tokens: readonly string[]): string[] {
  const folded = text.toLowerCase();
  return tokens.flatMap((token) => {
    const parts = Array.from({ length: token.length - shortestPart + 1 }, (_, at) =>
      token.slice(at, at + shortestPart),
    );
    return parts.filter((part) => folded.includes(part.toLowerCase()));
  });
}

/** Byte for byte: what is written to Redis' append-only file stands there as it came. */
function filesIn(dir: string): [string, string][] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .map((file) => [file, readFileSync(file, 'latin1')]);
}

async function valuesIn(server: TestServer): Promise<[string, string][]> {
  const client = new Redis(server.url);
  onTestFinished(() => client.disconnect());
  const found: [string, string][] = [];
  for await (const keys of client.scanStream({ count: 1000 })) {
    for (const key of keys as string[]) found.push([`Redis ${key}`, `${key} ${await valueOf(client, key)}`]);
  }
  return found;
}

async function valueOf(client: Redis, key: string): Promise<string> {
  switch (await client.type(key)) {
    case 'string':
      return (await client.getBuffer(key))?.toString('latin1') ?? '';
    case 'hash':
      return JSON.stringify(await client.hgetall(key));
    case 'set':
      return JSON.stringify(await client.smembers(key));
    case 'zset':
      return JSON.stringify(await client.zrange(key, 0, '-1'));
    case 'list':
      return JSON.stringify(await client.lrange(key, 0, '-1'));
    case 'stream':
      return JSON.stringify(await client.xrange(key, '-', '+'));
    default:
      throw new Error(`${key} is of a type that is not read here`);
  }
}
