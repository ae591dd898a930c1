#!/usr/bin/env node
/**
 * The command's first file. Plain enough for an old Node to parse, so that it can say what is wrong; everything else
 * is loaded after the check.
 */
import module from 'node:module';
import v8 from 'node:v8';

const [major = 0] = process.versions.node.split('.').map(Number);
if (major < 24) {
  process.stderr.write(`nightshift needs Node.js 24 or newer; this is ${process.version}.\n`);
  process.exit(2);
}
// V8 would rather grow than collect: new objects take up to 128 MB, old ones several times what is alive. With a quarter
// of the first and less than twice the second, a batch of any length keeps about the memory of a short one. The first is
// settled before Node starts: commands that last start anew, in the same process.
const newObjects = '--max-semi-space-size=16';
const isLong = process.argv.some((argument) => ['run', 'resume', 'retry', 'worker'].includes(argument));
const isChosen = [...process.execArgv, process.env['NODE_OPTIONS']].some((option) => option?.includes('semi-space'));
if (isLong && !isChosen && process.execve && process.platform !== 'win32') {
  process.execve(process.execPath, [process.argv0, newObjects, ...process.execArgv, ...process.argv.slice(1)]);
}
v8.setFlagsFromString('--heap-growing-percent=80');
// Compiled code is kept between calls: a command starts in half the time.
module.enableCompileCache();
// `npm run nightshift -- …` changes into the package; paths on the command line are relative to where the person stands.
const startedFrom = process.env['INIT_CWD'];
if (process.env['npm_lifecycle_event'] === 'nightshift' && startedFrom) process.chdir(startedFrom);

const { main } = await import('../src/cli/main.ts');
await main(process.argv);
