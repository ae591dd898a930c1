/** The doctor at work: a data directory and a configuration of its own, the suite's Redis, real providers. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { inject, onTestFinished } from 'vitest';
import { examine, type DoctorReport } from '../../src/doctor/doctor.ts';
import type { Check, Finding } from '../../src/doctor/finding.ts';
import { createLog } from '../../src/log.ts';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';

export type Ward = {
  dir: string;
  configFile: string;
  env: Record<string, string>;
  examine: (options?: { send?: boolean }) => Promise<DoctorReport>;
};

export type WardOptions = {
  kind?: 'privatemind' | 'curate-me' | 'openai';
  baseUrl: string;
  /** Name → secret. */
  keys: Record<string, string>;
  /** Added to each key. */
  key?: object;
  config?: object;
  namespace?: string;
  redisUrl?: string | null;
};

export function createWard(options: WardOptions): Ward {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'nightshift-doctor-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  const kind = options.kind ?? 'privatemind';
  const names = Object.keys(options.keys);
  const configFile = path.join(dir, 'nightshift.config.json');
  const env = Object.fromEntries(Object.entries(options.keys).map(([name, secret]) => [variableOf(name), secret]));
  const redisUrl = options.redisUrl === undefined ? inject('redisUrl') : options.redisUrl;
  writeFileSync(
    configFile,
    JSON.stringify({
      namespace: options.namespace ?? path.basename(dir),
      ...(redisUrl !== null && { redisUrl }),
      dataDir: path.join(dir, 'data'),
      providers: { [kind]: { baseUrl: options.baseUrl } },
      keys: names.map((name) => ({ name, provider: kind, secretEnv: variableOf(name), ...options.key })),
      ...options.config,
    }),
  );
  return {
    dir,
    configFile,
    env,
    examine: ({ send = false } = {}) =>
      examine({ from: { cwd: dir, env }, send, log: createLog('silent'), redisGiveUpAfterMs: 300 }),
  };
}

export const variableOf = (name: string) => `KEY_${name.toUpperCase().replaceAll('-', '_')}`;

/** A simulator that ends with the test, and its keys by name. */
export async function simulate(
  scenario: ScenarioInput,
): Promise<{ simulator: Simulator; keys: Record<string, string> }> {
  const simulator = await createSimulator({ scenario });
  onTestFinished(() => simulator.close());
  return { simulator, keys: Object.fromEntries(simulator.keys.map(({ name, token }) => [name, token])) };
}

/** A server that ends with the test. */
export async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(async () => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A proxy before `target` that may rename paths; one that buffers hands an answer on when it is whole. */
export function proxy(
  target: string,
  { rename = (url: string) => url, buffers = false }: { rename?: (url: string) => string; buffers?: boolean },
): Promise<string> {
  return serve((incoming, response) => {
    const { method, headers } = incoming;
    const outgoing = forward(
      new URL(rename(incoming.url ?? '/'), target),
      { method, headers: { ...headers, connection: 'close' }, agent: false },
      (answer) => {
        const pieces: Buffer[] = [];
        if (!buffers) {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(response);
          return;
        }
        answer.on('data', (piece: Buffer) => pieces.push(piece));
        answer.on('end', () => {
          const { 'content-type': type = 'text/plain' } = answer.headers;
          response.writeHead(answer.statusCode ?? 502, { 'content-type': type }).end(Buffer.concat(pieces));
        });
      },
    );
    outgoing.on('error', () => response.destroy());
    incoming.pipe(outgoing);
  });
}

export function problems({ findings }: DoctorReport): Finding[] {
  return findings.filter(({ level }) => level === 'problem');
}

export function findingsOf({ findings }: DoctorReport, check: Check, subject?: string): Finding[] {
  return findings.filter(
    (finding) => finding.check === check && (subject === undefined || finding.subject === subject),
  );
}

/** Completions that were sent with a known key: let in, or refused (a refused key's are counted by their status only). */
export function callsOf(simulator: Simulator): number {
  const keys = Object.values(simulator.truth().keys);
  return keys.reduce((sum, { calls, statuses }) => sum + Math.max(calls, ...Object.values(statuses)), 0);
}
