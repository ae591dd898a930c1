/** The simulator's own paths, for other processes: they read the truth and change the run. No key is needed. */
import { AppError } from '../errors.ts';
import { parseChanges } from './changes.ts';
import { applyChange } from './control.ts';
import { readBody, send, type Exchange } from './respond.ts';
import type { World } from './world.ts';

export const controlPrefix = '/__simulator/';
/** A long script of faults is far smaller. */
const maxBodyBytes = 16 * 1024 * 1024;

export function handleControl(world: World, exchange: Exchange, target: string): void {
  switch (target) {
    case 'GET /__simulator/truth':
      send(exchange, 200, JSON.stringify(world.account.truth()));
      return;
    case 'POST /__simulator/control':
      readBody(exchange.request, maxBodyBytes, (text) => changeBy(world, exchange, text));
      return;
    default:
      sendError(
        exchange,
        404,
        `no such path: ${target}; there are GET /__simulator/truth and POST /__simulator/control`,
      );
  }
}

function changeBy(world: World, exchange: Exchange, text: string | null): void {
  let input: unknown;
  try {
    input = JSON.parse(text ?? '');
  } catch {
    sendError(exchange, 400, 'the body is not valid JSON: expected a control change or an array of them');
    return;
  }
  try {
    const changes = parseChanges(input);
    // All are well-formed; one that names something unknown still stops those after it.
    for (const change of changes) applyChange(world, change);
    send(exchange, 200, JSON.stringify({ applied: changes.length }));
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    sendError(exchange, 400, error.message);
  }
}

function sendError(exchange: Exchange, status: number, message: string): void {
  send(exchange, status, JSON.stringify({ error: { message } }));
}
