/** Keys that come and go while a batch runs: by the configuration, by a person's word, and by themselves. */
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { waitFor } from '../support/wait.ts';
import { createPlace, plainLines, readKeys, writeLines, type Place } from './place.ts';
import { endOf, expectExit, readResults } from './support.ts';

const concurrency = 8;
const run = ['run', 'in.jsonl', '--out', 'out', '--concurrency', String(concurrency)];
const keys = [
  { name: 'first', rpm: 25 },
  { name: 'late', rpm: 25 },
];
const firstOfTwoKeys = { providers: { privatemind: { windowMs: 1000, keys } }, without: ['late'] };
const callsOf = (place: Place, key: string) => place.truth().keys[key]?.calls ?? 0;

async function untilUsed(place: Place, key: string, more = 10) {
  const before = callsOf(place, key);
  await waitFor(() => callsOf(place, key) >= before + more, { what: `${key} is used`, timeoutMs: 20_000 });
}

test('a key that the configuration gains is used at once, one that it loses no more; a broken one changes nothing', async () => {
  const place = await createPlace(firstOfTwoKeys);
  const ids = writeLines(place, plainLines(120));
  const running = place.start(run);
  await place.untilCalls(10, running);
  writeFileSync(place.file('nightshift.config.json'), '{ "keys": [');
  await running.waitForOutput(/changed configuration is not used, .*: .* is not valid JSON/);

  place.leaveOut([]);
  await running.waitForOutput(/Keys read again: added late\./);
  await untilUsed(place, 'late');

  place.leaveOut(['first']);
  await running.waitForOutput(/Keys read again: removed first\./);
  const atRemoval = callsOf(place, 'first');
  expectExit(await endOf(running), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  // What was on the wire.
  expect(callsOf(place, 'first')).toBeLessThanOrEqual(atRemoval + concurrency);
  expect(place.truth().totals.rejected429).toBe(0);
});

test('SIGHUP has the configuration read again, where its change was not seen', async () => {
  const place = await createPlace(firstOfTwoKeys);
  // As in a cluster, where the file is a link to one elsewhere.
  mkdirSync(place.file('elsewhere'));
  renameSync(place.file('nightshift.config.json'), place.file('elsewhere/config.json'));
  symlinkSync(place.file('elsewhere/config.json'), place.file('nightshift.config.json'));
  const ids = writeLines(place, plainLines(90));
  const running = place.start(run);
  await place.untilCalls(10, running);
  place.leaveOut([]);
  running.child.kill('SIGHUP');
  await running.waitForOutput(/Keys read again: added late\./);
  await untilUsed(place, 'late', 5);
  expectExit(await endOf(running), 0);
  expect(readResults(place, ids).errors).toEqual([]);
});

const lateSecret = `PMIND${'A1B2C3D4E'.repeat(3)}:${'0123456789abcdef'.repeat(4)}`;
const twoKeys = {
  privatemind: {
    windowMs: 1000,
    keys: [
      { name: 'first', rpm: 20 },
      { name: 'late', rpm: 20, simulated: { token: lateSecret } },
    ],
  },
};
const notUsed = 'changed configuration is not used, the keys stay as they were';

test.each([
  ['none', {}],
  ['another one', { PMIND_KEY: lateSecret }],
])('a configuration file that is away leaves the keys as they were; the environment has %s', async (_, variables) => {
  const env = { ...variables, PMIND_BASE_URL: 'http://127.0.0.1:9' };
  const place = await createPlace({ providers: twoKeys, without: ['late'], env });
  const config = place.file('nightshift.config.json');
  const ids = writeLines(place, plainLines(90));
  const running = place.start(run);
  await place.untilCalls(10, running);
  renameSync(config, `${config}~`);
  const [warning] = await running.waitForOutput(new RegExp(`${notUsed}: .*`));
  expect(warning).toContain(config);
  await untilUsed(place, 'first', 5);
  // Asked for by name it is the same.
  running.child.kill('SIGHUP');
  await waitFor(() => running.stderr().split(notUsed).length === 3, { what: 'it says so again' });
  await untilUsed(place, 'first', 5);

  renameSync(`${config}~`, config);
  place.leaveOut([]);
  await running.waitForOutput(/Keys read again: added late\./);
  expectExit(await endOf(running), 0);
  expect(running.stderr()).not.toContain('removed');
  expect(readResults(place, ids).errors).toEqual([]);
  expect(place.truth().totals.rejected429).toBe(0);
});

test('a configuration whose directory is deleted and comes back, then without keys, changes keys only when it is whole', async () => {
  const place = await createPlace({ providers: twoKeys, without: ['late'] });
  const text = readFileSync(place.file('nightshift.config.json'), 'utf8');
  const directory = place.file('etc');
  const config = place.file('etc/keys.json');
  const write = (content: string) => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(config, content);
  };
  write(text);
  place.leaveOut([]);
  const whole = readFileSync(place.file('nightshift.config.json'), 'utf8');
  rmSync(place.file('nightshift.config.json'));
  const ids = writeLines(place, plainLines(110));
  const running = place.start([...run, '--config', config]);
  await place.untilCalls(10, running);
  rmSync(directory, { recursive: true });
  expect((await running.waitForOutput(new RegExp(`${notUsed}: .*`)))[0]).toContain(config);

  write(whole);
  await running.waitForOutput(/Keys read again: added late\./);
  // The directory is another one now: its changes are seen as the first one's were.
  write(JSON.stringify({ ...(JSON.parse(whole) as object), keys: [] }));
  expect((await running.waitForOutput(new RegExp(`${notUsed}: .*no key.*`)))[0]).toContain(config);
  write(whole.slice(0, whole.length / 2));
  await running.waitForOutput(new RegExp(`${notUsed}: .*not valid JSON`));
  write(text);
  await running.waitForOutput(/Keys read again: removed late\./);
  expectExit(await endOf(running), 0);
  expect(running.stderr()).not.toContain('removed first');
  expect(readResults(place, ids).errors).toEqual([]);
});

test('keys drain takes a key out of a running batch, and keys resume brings it back', async () => {
  const place = await createPlace({
    providers: {
      privatemind: {
        windowMs: 1000,
        keys: [
          { name: 'a', rpm: 20 },
          { name: 'b', rpm: 20 },
        ],
      },
    },
  });
  const ids = writeLines(place, plainLines(300));
  const running = place.start(run);
  await place.untilCalls(10, running);
  expectExit(await place.nightshift(['keys', 'drain', 'a']), 0);
  const drained = callsOf(place, 'a');
  expect((await readKeys(place))['a']).toMatchObject({ standing: 'draining' });
  await untilUsed(place, 'b', 25);
  // What had its slot already.
  expect(callsOf(place, 'a')).toBeLessThanOrEqual(drained + concurrency);

  expectExit(await place.nightshift(['keys', 'resume', 'a']), 0);
  await untilUsed(place, 'a');
  expectExit(await endOf(running), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  expect(place.truth().totals.rejected429).toBe(0);
});

test('a key that is out of money until a known time tries itself again then, one call at a time', async () => {
  const place = await createPlace({
    providers: {
      openai: {
        windowMs: 1000,
        keys: [
          { name: 'a', rpm: 20, configured: { org: 'x' } },
          { name: 'b', rpm: 20, configured: { org: 'y' } },
        ],
      },
    },
  });
  const ids = writeLines(place, plainLines(120, 'gpt-5-mini'));
  const running = place.start(run);
  await place.untilCalls(10, running);
  place.control('openai', {
    change: 'set_faults',
    faults: [{ kind: 'refuse', reason: 'org_budget', retryAfterMs: 1000, keys: ['a'] }],
  });
  const refusals = () => place.truth().keys['a']?.refusals.org_budget ?? 0;
  await waitFor(() => refusals() > 0, { what: 'the key has no money' });
  const standing = await waitFor(async () => {
    const { a } = await readKeys(place);
    return a?.reason === 'org_exhausted' ? a : null;
  });
  expect(['retired', 'half_open']).toContain(standing.standing);
  // By then all that was in flight has been refused; from now on it is one at a time.
  const known = refusals();
  await waitFor(() => refusals() >= known + 2, { what: 'it has tried itself again', timeoutMs: 15_000 });
  place.control('openai', { change: 'set_faults', faults: [] });
  await untilUsed(place, 'a');
  expectExit(await endOf(running), 0);
  expect(readResults(place, ids).errors).toEqual([]);
  expect(refusals()).toBeLessThanOrEqual(known + 6);
  expect((await readKeys(place))['a']).toMatchObject({ standing: 'active' });
});
