import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';

const command = path.resolve(import.meta.dirname, '../../bin/nightshift.ts');
const sayOptions = `--import=data:text/javascript,process.stderr.write("options:"+process.pid+":"+process.execArgv.slice(0,1)+"\\n")`;

/** What each start of the command says of itself: its process and its first option. */
function startsOf(args: string[], env: NodeJS.ProcessEnv = {}) {
  const ran = spawnSync(process.execPath, [sayOptions, command, ...args, '--help'], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  expect(ran.status).toBe(0);
  const said = [...ran.stderr.matchAll(/options:(\d+):(\S*)/g)];
  return said.map(([, pid, option]) => ({ isSameProcess: Number(pid) === ran.pid, option }));
}

test.each(['run', 'resume', 'retry', 'worker'])(
  '%s starts anew in its process, with less room for new objects',
  (name) => {
    expect(startsOf([name]).slice(1)).toEqual([{ isSameProcess: true, option: '--max-semi-space-size=16' }]);
  },
);

test('what somebody chose is left as it is, and short commands start once', () => {
  expect(startsOf(['run'], { NODE_OPTIONS: '--max-semi-space-size=64' })).toHaveLength(1);
  expect(startsOf(['check'])).toHaveLength(1);
});
