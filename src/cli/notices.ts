/**
 * What the log says, for a person: warnings and errors in words, on the screen. With --log-level it is JSON lines for
 * programs instead, written by the same logger.
 */
import { createLog, type Log, type LogLevel } from '../log.ts';
import { say } from './screen.ts';

/** `level`: what --log-level says; without it warnings and errors are told in words, each once in a row. */
export function createNotices(level: LogLevel | undefined): Log {
  if (level !== undefined) return createLog(level, { write: (line) => say(line.trimEnd()) });
  let last = '';
  const write = (line: string) => {
    const words = inWords(line);
    if (words !== last) say(words);
    last = words;
  };
  return createLog('warn', { write });
}

/** Fields that say why, by whatever part of the program. */
const whys = ['why', 'cause', 'reason', 'error'];

function inWords(line: string): string {
  const entry = JSON.parse(line) as Record<string, unknown>;
  const message = String(entry['msg']);
  const why = whys.map((field) => entry[field]).find((value) => typeof value === 'string' && value !== '');
  const [first] = typeof why === 'string' && !message.includes(why) ? why.split('\n') : [];
  return `nightshift: ${message}${first === undefined ? '' : `: ${first}`}`;
}
