/**
 * The simulator: an HTTP server that behaves as a provider does, as far as its behaviour is known, and keeps its own
 * truth about what happened. It is plain node:http, because faults need the socket and the answers must be cheap.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { performance } from 'node:perf_hooks';
import { AppError, messageOf, systemErrorCode } from '../errors.ts';
import { controlPrefix, handleControl } from './control-routes.ts';
import { parseChanges, type ControlChange } from './changes.ts';
import { applyChange } from './control.ts';
import { handleCompletion } from './completions.ts';
import type { Key } from './keyring.ts';
import { handleApproval, handleIdentity, handleModels, handleUsage } from './listings.ts';
import { refuse } from './respond.ts';
import { parseScenario, type ScenarioInput } from './scenario.ts';
import type { Truth } from './truth.ts';
import { World } from './world.ts';

export type SimulatorOptions = {
  scenario?: ScenarioInput | undefined;
  /** What messages call the scenario, such as its file. */
  scenarioName?: string | undefined;
  /** Default 0: any free one. */
  port?: number | undefined;
  /** Default 127.0.0.1. */
  host?: string | undefined;
  /** Unix milliseconds, for windows, expiry and `atMs`. Latencies are always waited for in real time. */
  now?: (() => number) | undefined;
};

export type SimulatedKey = { name: string; token: string; org: string; rpm: number | null };

export interface Simulator extends AsyncDisposable {
  /** Without a trailing slash and without /v1. */
  readonly baseUrl: string;
  readonly port: number;
  /** As the scenario made them; the tokens are no secrets. */
  readonly keys: readonly SimulatedKey[];
  /** The variables that point nightshift here: base URL and keys. */
  readonly environment: Readonly<Record<string, string>>;
  truth(): Truth;
  /** Errors: `usage`, naming the field or the unknown name. */
  control(change: ControlChange | readonly ControlChange[]): void;
  /** Destroys all connections; calls in flight end nowhere. */
  close(): Promise<void>;
}

/** Errors: `config` for a bad scenario, `usage` for an address that cannot be listened on. */
export async function createSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const scenario = parseScenario(options.scenario, options.scenarioName);
  const world = new World(scenario, options.now ?? monotonicNow);
  const server = createServer({ noDelay: true }, (request, response) => route(world, request, response));
  // A connection kept alive stays until the client closes it: none is closed under a request that is on its way.
  server.keepAliveTimeout = 0;
  const host = options.host ?? '127.0.0.1';
  const { port } = await listen(server, options.port ?? 0, host);
  const baseUrl = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const keys = world.keyring.keys();
  const close = async (): Promise<void> => {
    world.timers.close();
    if (!server.listening) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    server.closeAllConnections();
    await promise;
  };
  return {
    baseUrl,
    port,
    keys: keys.map(describeKey),
    environment: scenario.dialect.environment(
      baseUrl,
      keys.map((key) => key.token),
    ),
    truth: () => world.account.truth(),
    control: (change) => {
      for (const parsed of parseChanges(change)) applyChange(world, parsed);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function route(world: World, request: IncomingMessage, response: ServerResponse): void {
  const id = world.nextId();
  const exchange = { request, response, id };
  const url = request.url ?? '/';
  const queryAt = url.indexOf('?');
  const target = `${request.method} ${queryAt === -1 ? url : url.slice(0, queryAt)}`;
  // A client that resets its connection is no failure of ours.
  request.on('error', () => {});
  world.catchUp();
  if (url.startsWith(controlPrefix)) {
    handleControl(world, exchange, target);
    return;
  }
  const { dialect } = world.scenario;
  response.setHeader(dialect.requestIdHeader, dialect.requestIdPrefix + id);
  const found = dialect.routeOf(target);
  switch (found?.to) {
    case 'completions':
      handleCompletion(world, exchange);
      return;
    case 'models':
      handleModels(world, exchange);
      return;
    case 'usage':
      handleUsage(world, exchange, new URLSearchParams(queryAt === -1 ? '' : url.slice(queryAt)));
      return;
    case 'identity':
      handleIdentity(world, exchange);
      return;
    case 'approval':
      handleApproval(world, exchange, found.approvalId);
      return;
    case undefined:
      refuse(world, exchange, { reason: 'unknown_path', message: `Not found: ${target}` });
      return;
    default:
      found satisfies never;
  }
}

async function listen(server: Server, port: number, host: string): Promise<AddressInfo> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ port, host, backlog: listenBacklog }, () => resolve());
  try {
    await promise;
  } catch (cause) {
    throw new AppError('usage', explainListenError(cause, port, host), { cause });
  }
  server.removeListener('error', reject);
  return server.address() as AddressInfo;
}

/** Many workers connect at once; the system caps this. */
const listenBacklog = 4096;

function explainListenError(cause: unknown, port: number, host: string): string {
  switch (systemErrorCode(cause)) {
    case 'EADDRINUSE':
      return `port ${port} on ${host} is in use; choose another with --port, or any free one with --port 0`;
    case 'EACCES':
      return `port ${port} may not be used by this user; choose one above 1023 with --port`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `${host} is not an address of this machine; choose one with --host, such as 127.0.0.1`;
    case undefined:
    default:
      return `cannot listen on ${host}:${port}: ${messageOf(cause)}`;
  }
}

function describeKey({ name, token, org, rpm }: Key): SimulatedKey {
  return { name, token, org: org.name, rpm };
}

/** Wall time that never steps: taken once at the start, carried on by the monotonic clock. */
function monotonicNow(): number {
  return performance.timeOrigin + performance.now();
}
