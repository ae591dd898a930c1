/**
 * The package as a stranger gets it: built, packed, unpacked into an empty directory's node_modules, its dependencies
 * beside it — those that package.json names and no others. Without network: they are links to the repository's own.
 */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

export const root = path.resolve(import.meta.dirname, '../..');

type Ended = { exitCode: number; stdout: string; stderr: string };

export type Installed = {
  /** Holds everything below; for the test to remove. */
  temporary: string;
  /** Where the stranger stands: holds node_modules and nothing else. */
  dir: string;
  /** In the tarball, sorted. */
  files: string[];
  run: (command: string, args: string[], env?: NodeJS.ProcessEnv) => Promise<Ended>;
};

type Manifest = { name: string; files: string[]; dependencies: Record<string, string>; bin: Record<string, string> };

export async function installPackage(): Promise<Installed> {
  const temporary = realpathSync(mkdtempSync(path.join(os.tmpdir(), 'nightshift-package-')));
  const source = path.join(temporary, 'source');
  const dir = path.join(temporary, 'stranger');
  const modules = path.join(dir, 'node_modules');
  const home = path.join(modules, 'nightshift');
  for (const one of [source, home, path.join(modules, '.bin')]) mkdirSync(one, { recursive: true });

  // A copy of what goes in, so that the repository's own dist/ is left alone.
  const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest;
  await mustRun(process.execPath, ['scripts/build.ts', path.join(source, 'dist')], root);
  for (const file of ['package.json', 'README.md', 'LICENSE', ...manifest.files]) {
    if (file !== 'dist') cpSync(path.join(root, file), path.join(source, file), { recursive: true });
  }
  const packed = await mustRun('npm', ['pack', '--json', '--ignore-scripts', '--offline'], source);
  const [tarball] = JSON.parse(packed.stdout) as [{ filename: string; files: { path: string }[] }];
  await mustRun('tar', ['-xzf', path.join(source, tarball.filename), '--strip-components=1', '-C', home], temporary);

  for (const name of [...Object.keys(manifest.dependencies), '@types']) {
    symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name));
  }
  for (const [name, file] of Object.entries(manifest.bin)) {
    symlinkSync(path.join('..', 'nightshift', file), path.join(modules, '.bin', name));
  }
  return {
    temporary,
    dir,
    files: tarball.files.map((file) => file.path).toSorted(),
    run: (command, args, env) => runIn(command, args, dir, env),
  };
}

async function mustRun(command: string, args: string[], cwd: string): Promise<Ended> {
  const ended = await runIn(command, args, cwd);
  if (ended.exitCode === 0) return ended;
  throw new Error(`${command} ${args.join(' ')} ended with ${ended.exitCode}:\n${ended.stdout}${ended.stderr}`);
}

async function runIn(command: string, args: string[], cwd: string, more: NodeJS.ProcessEnv = {}): Promise<Ended> {
  // The Node of this process first: `#!/usr/bin/env node` means whatever the PATH says.
  const PATH = `${path.dirname(process.execPath)}:${path.join(cwd, 'node_modules/.bin')}:${process.env['PATH']}`;
  const env = { ...process.env, ...more, PATH, npm_config_update_notifier: 'false', npm_config_offline: 'true' };
  return promisify(execFile)(command, args, { cwd, env, maxBuffer: 1 << 24 }).then(
    ({ stdout, stderr }) => ({ exitCode: 0, stdout, stderr }),
    (error: { code?: unknown; stdout: string; stderr: string; message: string }) => {
      if (typeof error.code !== 'number') throw error;
      return { exitCode: error.code, stdout: error.stdout, stderr: error.stderr };
    },
  );
}
