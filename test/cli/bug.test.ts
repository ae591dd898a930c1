/** A mistake of ours, made to happen by a module that is loaded before the command. */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { waitFor } from '../support/wait.ts';
import { createBench, line, type Call } from './command.ts';

const bench = createBench({ redisUrl: null });
bench.file('in.jsonl', Array.from({ length: 100 }, (_, index) => line(`line-${index}`)).join(''));
const run = ['run', 'in.jsonl', '--simulate', '--data', 'data', '--out', 'out'];

/** As `NODE_OPTIONS`: the words of the module. */
function withMistake(code: string): Call {
  return { env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` } };
}

/** In the middle of a run, in a callback that nobody waits for. */
const lost = withMistake(`
  import { existsSync } from 'node:fs';
  const timer = setInterval(() => {
    if (existsSync('out/in.output.jsonl')) throw new TypeError('this is not a function');
  }, 20);
  timer.unref();
`);

/** While a command works with its Redis open. */
const thrown = withMistake(`
  Date.prototype.toISOString = () => { throw new RangeError('no such time'); };
`);

/** No redis-server of the data directory, by its own word: the socket answers nobody. */
const isServed = () =>
  spawnSync('redis-cli', ['-s', bench.file('data/simulated/redis/redis.sock'), 'ping']).status === 0;

test('a mistake of ours is one line that says so, exit code 70, and leaves no server and no lock behind', async () => {
  const ended = await bench.nightshift(run, lost);
  expect(ended).toEqual({
    code: 70,
    stdout: '',
    stderr:
      'nightshift: this is a bug in nightshift: TypeError: this is not a function; ' +
      'please report it, with the stack that --log-level debug shows\n',
  });
  await waitFor(() => !isServed(), { what: 'the embedded Redis ends' });

  // What was done is kept, and the next run is not in anybody's way.
  const again = await bench.nightshift(run);
  expect(again.stderr).toMatch(/in: completed, 100 of 100 lines completed, 0 failed/);
  expect(again.code).toBe(0);
});

test('--log-level debug shows its stack', async () => {
  await bench.nightshift(['run', 'in.jsonl', '--simulate', '--out', 'out']);
  const ended = await bench.nightshift([...run, '--name', 'other', '--log-level', 'debug'], thrown);
  expect(ended.code).toBe(70);
  expect(ended.stderr).toMatch(/^nightshift: this is a bug in nightshift: RangeError: no such time\n.*\n {4}at /m);
  await waitFor(() => !isServed(), { what: 'the embedded Redis ends' });
});
