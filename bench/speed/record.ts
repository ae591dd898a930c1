/**
 * bench/results/speed.json: one object, its figures merged section by section, each section with the machine, the
 * versions and the time of its measurement.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';

export function writeRecord(file: string, section: string, figures: object): void {
  const known = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>) : {};
  const measured = { ...(known['measured'] as object | undefined), [section]: circumstances() };
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ ...known, ...figures, measured }, null, 2)}\n`);
}

function circumstances() {
  const cpus = os.cpus();
  const require = createRequire(import.meta.url);
  const versionOf = (name: string) => {
    const main = require.resolve(name);
    const at = main.lastIndexOf(path.join('node_modules', name));
    const file = path.join(main.slice(0, at), 'node_modules', name, 'package.json');
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  };
  const packages = ['bullmq', 'ioredis', 'openai', 'p-limit', 'undici'];
  return {
    at: new Date().toISOString(),
    machine: {
      cpu: cpus[0]?.model.trim() ?? 'unknown',
      cores: cpus.length,
      memoryBytes: os.totalmem(),
      system: `${os.type()} ${os.release()}`,
      loadAverage: os.loadavg().map((load) => Math.round(load * 100) / 100),
    },
    versions: {
      node: process.versions.node,
      redis: /v=([\d.]+)/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown',
      ...Object.fromEntries(packages.map((name) => [name, versionOf(name)])),
    },
  };
}
