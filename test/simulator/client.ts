/** A small client for the simulator's tests: real HTTP, nothing hidden. */
import type { Simulator } from '../../src/simulator/server.ts';

export type Answer = {
  status: number;
  headers: Headers;
  text: string;
  /** The body as JSON, or undefined where it is none. */
  json: any; // oxlint-disable-line typescript/no-explicit-any -- tests look into bodies of every shape
};

export type Ask = {
  /** Name of the key; null: no key. */
  key?: string | null;
  authorization?: string;
  /** In place of the key's. */
  headers?: Record<string, string>;
  body?: unknown;
  signal?: AbortSignal;
};

export const question = { role: 'user', content: 'Name three rivers.' };

/** The headers of a named key, by default of the first. */
export function headersOf(simulator: Simulator, { key, authorization, headers }: Ask = {}): Record<string, string> {
  if (headers) return headers;
  if (authorization !== undefined) return { authorization };
  if (key === null) return {};
  const found = simulator.keys.find((one) => key === undefined || one.name === key);
  if (!found) throw new Error(`no key ${key}`);
  return { authorization: `Bearer ${found.token}` };
}

export async function get(simulator: Simulator, path: string, ask: Ask = {}): Promise<Answer> {
  return read(await fetch(simulator.baseUrl + path, { headers: headersOf(simulator, ask) }));
}

/** A completion; the fields given are added to a body that is right. */
export async function chat(simulator: Simulator, fields: object = {}, ask: Ask = {}): Promise<Answer> {
  return post(simulator, '/v1/chat/completions', { ...ask, body: { model: 'fast', messages: [question], ...fields } });
}

/** The same through Curate-Me, with its own header. */
export async function chatCurateMe(simulator: Simulator, fields: object = {}, ask: Ask = {}): Promise<Answer> {
  const body = { model: 'gpt-5-mini', messages: [question], ...fields };
  return post(simulator, '/v1/openai/chat/completions', { ...ask, headers: gatewayHeaders(simulator, ask), body });
}

export function gatewayHeaders(simulator: Simulator, ask: Ask = {}): Record<string, string> {
  if (ask.headers) return ask.headers;
  const { authorization } = headersOf(simulator, ask);
  return authorization === undefined ? {} : { 'x-cm-api-key': authorization.slice('Bearer '.length) };
}

/** The same at an OpenAI-shaped provider. */
export async function chatOpenai(simulator: Simulator, fields: object = {}, ask: Ask = {}): Promise<Answer> {
  return chat(simulator, { model: 'gpt-5-mini', ...fields }, ask);
}

export async function post(simulator: Simulator, path: string, ask: Ask): Promise<Answer> {
  const response = await fetch(simulator.baseUrl + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headersOf(simulator, ask) },
    body: typeof ask.body === 'string' ? ask.body : JSON.stringify(ask.body),
    ...(ask.signal && { signal: ask.signal }),
  });
  return read(response);
}

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: parse(text) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
