/**
 * Which server program the embedded Redis runs, and with which options. Finds `redis-server` or `valkey-server` on the
 * PATH, refuses one that is too old before it touches any file, and otherwise says the line that installs one.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { AppError, messageOf } from '../errors.ts';
import { isVersionSupported, oldestVersion } from './checks.ts';

const run = promisify(execFile);
const programs = ['redis-server', 'valkey-server'];

/** The absolute path of the first server program on the PATH that is new enough. Errors: `redis`, with the cure. */
export async function findServer(env: NodeJS.ProcessEnv = process.env): Promise<string> {
  const refused: string[] = [];
  for (const program of programs) {
    const file = findOnPath(program, env['PATH'] ?? '');
    if (!file) continue;
    const version = await versionOf(file);
    if (isVersionSupported(version)) return file;
    refused.push(`${file} is version ${version}`);
  }
  const cure = `Install one with: ${installLine(process.platform, readOsRelease(), process.getuid?.() === 0)}`;
  if (refused.length > 0) {
    throw new AppError('redis', `Redis ${oldestVersion} or newer is needed; ${refused.join(', ')}. ${cure}`);
  }
  throw new AppError(
    'redis',
    `no redis-server or valkey-server on the PATH, and no Redis URL is set (REDIS_URL, --redis). ${cure}`,
  );
}

export function serverOptions(at: { dir: string; socketPath: string; logFile: string }): string[] {
  const options = {
    port: '0',
    unixsocket: at.socketPath,
    unixsocketperm: '600',
    daemonize: 'no',
    dir: at.dir,
    appendonly: 'yes',
    appendfsync: 'everysec',
    save: '',
    'maxmemory-policy': 'noeviction',
    logfile: at.logFile,
  };
  return Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
}

/** `Redis server v=7.0.15 sha=…` and `Valkey server v=8.1.0 sha=…`. */
export function parseServerVersion(text: string): string | null {
  return /\bv=(\d+(?:\.\d+)+)/.exec(text)?.[1] ?? null;
}

async function versionOf(file: string): Promise<string> {
  let output: string;
  try {
    ({ stdout: output } = await run(file, ['--version'], { timeout: 10_000 }));
  } catch (cause) {
    throw new AppError('redis', `${file} --version fails: ${messageOf(cause).trim()}`, { cause });
  }
  const version = parseServerVersion(output);
  if (version) return version;
  throw new AppError('redis', `expected a version from ${file} --version, got "${output.trim()}"; is it Redis?`);
}

function findOnPath(program: string, searchPath: string): string | null {
  for (const dir of searchPath.split(path.delimiter)) {
    if (!path.isAbsolute(dir)) continue;
    const file = path.join(dir, program);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      // Not here.
    }
  }
  return null;
}

function readOsRelease(): string {
  try {
    return readFileSync('/etc/os-release', 'utf8');
  } catch {
    return '';
  }
}

/** The one line that installs a server on this system. `osRelease` is the text of /etc/os-release, where there is one. */
export function installLine(platform: NodeJS.Platform, osRelease: string, isRoot: boolean): string {
  if (platform === 'darwin') return 'brew install redis';
  const field = (name: string) => new RegExp(`^${name}=["']?([^"'\n]*)`, 'm').exec(osRelease)?.[1] ?? '';
  const systems = `${field('ID')} ${field('ID_LIKE')}`.toLowerCase().split(/\s+/);
  const sudo = isRoot ? '' : 'sudo ';
  const is = (...names: string[]) => names.some((name) => systems.includes(name));
  if (is('debian', 'ubuntu')) return `${sudo}apt-get install -y redis-server`;
  if (is('alpine')) return `${sudo}apk add redis`;
  // Newer releases carry Valkey in its place.
  if (is('fedora', 'rhel', 'centos', 'amzn')) return `${sudo}dnf install -y redis || ${sudo}dnf install -y valkey`;
  if (is('arch')) return `${sudo}pacman -S --noconfirm valkey`;
  if (is('suse', 'opensuse')) return `${sudo}zypper install -y redis`;
  return 'see https://redis.io/docs/latest/operate/oss_and_stack/install/';
}
