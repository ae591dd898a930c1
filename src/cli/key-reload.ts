/**
 * Keys come and go while a batch runs: the configuration is read again on SIGHUP and when its file changes. One that
 * is not valid, has no key, or is not there is reported and changes nothing: it may be half written, renamed by an
 * editor or on a mount that comes back.
 */
import { existsSync, watch, type FSWatcher } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config.ts';
import { AppError, messageOf } from '../errors.ts';
import type { Key, Keyring } from '../keys/keyring.ts';
import type { Globals } from './main.ts';
import { configOf } from './session.ts';

export type KeyReloadOptions = {
  globals: Globals;
  config: Config;
  keyring: Keyring;
  /** Makes the keys known (standing.ts, registerKeys). */
  register: (keys: readonly Key[]) => Promise<void>;
  say: (text: string) => void;
};

/** Editors write a file in several steps. */
const settleMs = 200;
/** For a file that is away: where its directory went with it, nobody tells of its return. */
const lookAgainMs = 1000;

export function watchKeys(options: KeyReloadOptions): Disposable {
  const { globals, config, keyring, say } = options;
  let timer: NodeJS.Timeout | undefined;
  let watcher: FSWatcher | null = null;
  let { file } = config;

  function reload(): void {
    // Before the reading, so that no change comes in between. The directory may be another one by now.
    watchAgain();
    try {
      const next = configOf(globals, { secrets: true });
      assertUsable(next, file);
      const { added, removed, changed } = keyring.replace(next);
      file = next.file;
      const parts = Object.entries({ added, removed, changed }).filter(([, names]) => names.length > 0);
      if (parts.length === 0) return;
      say(`Keys read again: ${parts.map(([what, names]) => `${what} ${names.join(', ')}`).join('; ')}.`);
      options.register(keyring.keys).catch((error: unknown) => say(`Keys not registered: ${messageOf(error)}`));
    } catch (error) {
      say(`The changed configuration is not used, the keys stay as they were: ${messageOf(error)}`);
      if (file) waitFor(file);
    }
  }

  function soon(): void {
    clearTimeout(timer);
    timer = setTimeout(reload, settleMs);
  }

  function waitFor(missing: string): void {
    if (existsSync(missing)) return;
    timer = setTimeout(() => (existsSync(missing) ? soon() : waitFor(missing)), lookAgainMs);
  }

  function watchAgain(): void {
    watcher?.close();
    watcher = file === null ? null : watchFile(file, soon);
  }

  watchAgain();
  process.on('SIGHUP', soon);
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      watcher?.close();
      process.off('SIGHUP', soon);
    },
  };
}

/** Without its file a configuration is what the environment says: other keys, or the same ones without their limits. */
function assertUsable(next: Config, file: string | null): void {
  if (file !== null && next.file === null) throw new AppError('config', `${file} is gone; put it back`);
  if (next.keys.length > 0) return;
  const cure = 'to stop sending, stop the command';
  throw new AppError('config', `${next.file ?? 'the environment'} has no key; ${cure}`);
}

/** Null where it cannot be watched: SIGHUP remains. */
function watchFile(file: string, changed: () => void): FSWatcher | null {
  // The directory, not the file: most editors replace a file instead of writing into it. Its own end has its own name.
  const directory = path.dirname(file);
  const names = [path.basename(file), path.basename(directory)];
  try {
    const watcher = watch(directory, { persistent: false }, (_, name) => {
      if (name !== null && names.includes(name)) changed();
    });
    return watcher.on('error', () => undefined);
  } catch {
    return null;
  }
}
