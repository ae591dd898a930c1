/** Ctrl-C, and the loss of the lease, while a run is about to begin or to end: nothing is sent, nothing is changed. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import type { TestProcess } from '../support/process.ts';
import { testRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import {
  createWorld,
  endOf,
  expectExit,
  readManifest,
  readResults,
  summaryOf,
  writeInput,
  type World,
} from './support.ts';

const { url, client, names, namespace } = testRedis();
/** A holder of the lease: another process of this machine, of which nothing else is known. */
const theirs = `${hostname()}.00000000 7 0123456789abcdef`;
const args = ['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '5'];

async function createPlace(): Promise<{ world: World; ids: string[] }> {
  const config = { namespace };
  const world = await createWorld({ redisUrl: url, config, scenario: { latencyMs: { min: 20, max: 60 } } });
  return { world, ids: writeInput(world, { count: 120 }) };
}

/** Of a batch that was begun and interrupted. */
async function interrupted(world: World): Promise<string> {
  const running = world.start(args);
  await world.untilCalls(20, running);
  running.child.kill('SIGINT');
  const ended = await endOf(running);
  expectExit(ended, 130);
  return summaryOf(ended).batchId;
}

/** Resolves once somebody has sent this command for this key. */
async function untilCommand(command: string, key: string, during: () => TestProcess): Promise<TestProcess> {
  const monitor = await client.monitor();
  onTestFinished(() => monitor.disconnect());
  let isSeen = false;
  monitor.on('monitor', (_time: string, words: string[]) => {
    isSeen ||= words[0]?.toLowerCase() === command && words[1] === key;
  });
  const process = during();
  await waitFor(() => isSeen, { timeoutMs: 20_000, what: `the command sends ${command} ${key}` });
  return process;
}

test('Ctrl-C while another process may still hold the batch ends the wait: nothing is sent, nothing has changed', async () => {
  const { world, ids } = await createPlace();
  const batchId = await interrupted(world);
  const { calls } = world.truth().totals;
  const lease = names.lease(batchId);
  await client.set(lease, theirs, 'PX', 60_000);
  const before = await client.hgetall(names.batch(batchId));
  const manifest = () => readFileSync(world.file('out/in.manifest.json'), 'utf8');
  const written = manifest();

  const waiting = await untilCommand('pttl', lease, () => world.start(args));
  waiting.child.kill('SIGINT');
  const stopped = await endOf(waiting);
  expectExit(stopped, 130);
  expect(summaryOf(stopped).stoppedBy?.code).toBe('interrupted');
  expect(stopped.stderr).toMatch(/Stopped: interrupted\.\nTo go on, type the same command again/);
  expect(world.truth().totals.calls).toBe(calls);
  expect(await client.get(lease)).toBe(theirs);
  expect(await client.hgetall(names.batch(batchId))).toEqual(before);
  expect(manifest()).toBe(written);

  await client.del(lease);
  expectExit(await world.nightshift(args), 0);
  expect(readResults(world, ids).errors).toEqual([]);
});

test('Ctrl-C that came before the lease was free changes nothing, though it is free now', async () => {
  const { world } = await createPlace();
  const batchId = await interrupted(world);
  const { calls } = world.truth().totals;
  const lease = names.lease(batchId);
  await client.set(lease, theirs, 'PX', 60_000);
  const before = await client.hgetall(names.batch(batchId));
  const waiting = await untilCommand('pttl', lease, () => world.start(args));
  // Stopped and continued: the signal and the free lease are there at the same moment.
  waiting.child.kill('SIGSTOP');
  await client.del(lease);
  waiting.child.kill('SIGINT');
  waiting.child.kill('SIGCONT');
  const stopped = await endOf(waiting);
  expectExit(stopped, 130);
  expect(world.truth().totals.calls).toBe(calls);
  expect(await client.hgetall(names.batch(batchId))).toEqual(before);
  expect(await client.exists(lease)).toBe(0);
});

test('Ctrl-C while the provider is asked for its models stops before the first call', async () => {
  const { world, ids } = await createPlace();
  await interrupted(world);
  // What the run before was told would do for a minute.
  await client.del(await client.keys(names.models('privatemind', '*')));
  const gate = await createGate(world.simulator.baseUrl);
  world.configure({ namespace, providers: { privatemind: { baseUrl: gate.baseUrl, windowMs: 3000 } } });
  const starting = world.start(args);
  await waitFor(() => gate.isAsked(), { timeoutMs: 20_000, what: 'the models are asked for' });
  starting.child.kill('SIGINT');
  await starting.waitForOutput(/Stopping/);
  gate.open();
  const stopped = await endOf(starting);
  expectExit(stopped, 130);
  expect(gate.calls()).toBe(0);
  expect(readManifest(world)).toMatchObject({ status: 'paused', stoppedBy: { code: 'interrupted' } });

  world.configure({ namespace });
  expectExit(await world.nightshift(args), 0);
  expect(readResults(world, ids).errors).toEqual([]);
});

test('a run that was taken over leaves the manifest to the process that has the batch now', async () => {
  const { world } = await createPlace();
  const running = world.start(args);
  await world.untilCalls(20, running);
  const { batchId } = readManifest(world);
  const manifest = '{"of":"the process that has it now"}';
  writeFileSync(world.file('out/in.manifest.json'), manifest);
  await client.set(names.lease(batchId), 'elsewhere 1 0123456789abcdef');
  const ended = await endOf(running);
  expectExit(ended, 2);
  const cause = `another process took ${batchId} over (process 1 on elsewhere)`;
  expect(ended.stderr).toContain(cause);
  const stoppedBy = { code: 'usage', cause: expect.stringContaining(cause) };
  expect(summaryOf(ended)).toMatchObject({ batchId, status: 'in_progress', stoppedBy });
  expect(readFileSync(world.file('out/in.manifest.json'), 'utf8')).toBe(manifest);
  expect(await client.get(names.lease(batchId))).toBe('elsewhere 1 0123456789abcdef');
});

/** In front of a provider: holds back what it is asked, until it is opened. */
async function createGate(baseUrl: string) {
  const held: (() => void)[] = [];
  let isOpen = false;
  let calls = 0;
  const server = createServer((request, response) => {
    if (request.method === 'POST') calls += 1;
    const pass = () => void passOn(new URL(request.url ?? '/', baseUrl), request.headers.authorization, response);
    if (isOpen) pass();
    else held.push(pass);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    isAsked: () => held.length > 0 && calls === 0,
    calls: () => calls,
    open() {
      isOpen = true;
      for (const pass of held) pass();
    },
  };
}

async function passOn(to: URL, authorization: string | undefined, response: ServerResponse): Promise<void> {
  const answer = await fetch(to, { headers: { ...(authorization !== undefined && { authorization }) } });
  response.writeHead(answer.status, { 'content-type': 'application/json' });
  response.end(await answer.text());
}
