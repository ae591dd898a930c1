/**
 * `npm run build`: the package as it is published, in `dist/` — JavaScript and declarations of everything but tests and
 * scripts, the Lua and SQL files beside their callers, and the configuration's JSON Schema. The schema also lies at the
 * top of the repository, for editors; it is written anew when it is no longer current.
 *
 *   node scripts/build.ts [output directory]     another directory leaves the repository as it is (for tests)
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { configJsonSchema } from './config-schema.ts';

const root = path.dirname(import.meta.dirname);
const given = process.argv[2];
const dist = given === undefined ? path.join(root, 'dist') : path.resolve(given);
const schema = `${JSON.stringify(configJsonSchema(), null, 2)}\n`;

rmSync(dist, { recursive: true, force: true });
run('tsc', '--project', 'scripts/tsconfig.build.json', '--outDir', dist);
for (const file of globSync('{src,workers,jobs}/**/*.{lua,sql}', { cwd: root })) {
  mkdirSync(path.dirname(path.join(dist, file)), { recursive: true });
  cpSync(path.join(root, file), path.join(dist, file));
}
writeFileSync(path.join(dist, 'config.schema.json'), schema);
chmodSync(path.join(dist, 'bin', 'nightshift.js'), 0o755);
if (given === undefined) updateOwnSchema(path.join(root, 'config.schema.json'));

function updateOwnSchema(file: string): void {
  const isCurrent =
    existsSync(file) && JSON.stringify(JSON.parse(readFileSync(file, 'utf8'))) === JSON.stringify(JSON.parse(schema));
  if (isCurrent) return;
  writeFileSync(file, schema);
  run('oxfmt', file);
  console.log('config.schema.json was not current and is written anew; commit it');
}

/** A tool of the repository's own, whatever is on the PATH. */
function run(tool: string, ...args: string[]): void {
  execFileSync(path.join(root, 'node_modules', '.bin', tool), args, { cwd: root, stdio: 'inherit' });
}
