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
// Compiled code is kept between calls: a command starts in half the time.
module.enableCompileCache();
// V8 would rather grow than collect: by a fifth at a time a long batch keeps about the memory of a short one, for a tenth
// more CPU.
v8.setFlagsFromString('--heap-growing-percent=20');
// `npm run nightshift -- …` changes into the package; paths on the command line are relative to where the person stands.
const startedFrom = process.env['INIT_CWD'];
if (process.env['npm_lifecycle_event'] === 'nightshift' && startedFrom) process.chdir(startedFrom);

const { main } = await import('../src/cli/main.ts');
await main(process.argv);
