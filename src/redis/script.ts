/**
 * Lua scripts: one file each, beside its one caller. `defineCommand` sends the hash and falls back to the source, so
 * SCRIPT FLUSH, a restart or a fail-over of Redis needs no care from anyone.
 */
import { readFileSync } from 'node:fs';
import type { Redis } from './client.ts';

export type Script = (keys: string[], args: (string | Buffer)[]) => Promise<unknown>;

/** A line `-- include name.lua` stands for that file, beside the one that has it. */
const includeLine = /^-- include (\S+)$/gm;

/** Reads `file` (relative to the caller's `import.meta.url`) and returns a function that runs it on `redis`. */
export function loadScript(redis: Redis, file: string, from: string): Script {
  const command = `nightshift_${file.replace(/\W+/g, '_')}`;
  const read = (name: string) => readFileSync(new URL(name, from), 'utf8');
  if (!(command in redis)) {
    redis.defineCommand(command, { lua: read(file).replace(includeLine, (_, included: string) => read(included)) });
  }
  const run = (redis as unknown as Record<string, (...all: (string | number | Buffer)[]) => Promise<unknown>>)[command];
  if (!run) throw new TypeError(`script ${file} was not defined`);
  return (keys, args) => run.call(redis, keys.length, ...keys, ...args);
}
