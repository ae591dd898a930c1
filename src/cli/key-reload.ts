/**
 * Keys come and go while a batch runs: the configuration is read again on SIGHUP and when its file changes. A
 * configuration that is not valid is reported and changes nothing.
 */
import { watch, type FSWatcher } from 'node:fs';
import path from 'node:path';
import type { Config } from '../config.ts';
import { messageOf } from '../errors.ts';
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

export function watchKeys(options: KeyReloadOptions): Disposable {
  const { globals, config, keyring, say } = options;
  let timer: NodeJS.Timeout | undefined;
  const reload = () => {
    try {
      const { added, removed, changed } = keyring.replace(configOf(globals, { secrets: true }));
      const parts = Object.entries({ added, removed, changed }).filter(([, names]) => names.length > 0);
      if (parts.length === 0) return;
      say(`Keys read again: ${parts.map(([what, names]) => `${what} ${names.join(', ')}`).join('; ')}.`);
      options.register(keyring.keys).catch((error: unknown) => say(`Keys not registered: ${messageOf(error)}`));
    } catch (error) {
      say(`The changed configuration is not used: ${messageOf(error)}`);
    }
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(reload, settleMs);
  };
  // The directory, not the file: most editors replace a file instead of writing into it.
  let watcher: FSWatcher | undefined;
  if (config.file) {
    const name = path.basename(config.file);
    watcher = watch(path.dirname(config.file), { persistent: false }, (_, changed) => {
      if (changed === name) soon();
    });
    watcher.on('error', () => undefined);
  }
  process.on('SIGHUP', soon);
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      watcher?.close();
      process.off('SIGHUP', soon);
    },
  };
}
