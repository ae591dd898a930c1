/**
 * Logging: pino to stderr, one line per state change. Secrets never reach it in any form: the keyring registers every
 * secret with `redactor`, and every string that comes from outside (a provider's message above all) passes through.
 */
import { pino, type DestinationStream, type Logger } from 'pino';

export type Log = Logger;
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** `destination`: gets each line, JSON and its newline. Default: stderr. */
export function createLog(level: LogLevel = 'warn', destination?: DestinationStream): Log {
  // Synchronous: the last lines before a crash are the ones that matter.
  const stream = destination ?? pino.destination({ fd: 2, sync: true });
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, stream);
}
