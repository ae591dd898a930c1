import { chmodSync, chownSync, existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { asNobody, createBench, expectFailure, isRoot, line, type Ended } from './command.ts';

const bench = createBench();

type Row = { name: string; args: string[]; content?: string | Buffer; says: (RegExp | string)[] };

const rows: Row[] = [
  {
    name: 'a broken JSON line',
    args: ['broken.jsonl'],
    content: `${line('a')}{"custom_id":"b","prompt":"x"\n`,
    says: [
      /^nightshift: 1 of 2 lines .* nothing was sent/,
      /broken\.jsonl:2: .*broken JSON .*column 30/,
      /--skip-invalid/,
    ],
  },
  {
    name: 'a line without messages',
    args: ['bare.jsonl'],
    content: '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"fast"}}\n',
    says: ['bare.jsonl:1: body.messages: expected a non-empty array of messages, got nothing'],
  },
  {
    name: 'an unknown field',
    args: ['unknown.jsonl'],
    content: '{"custom_id":"a","model":"fast","promt":"x"}\n',
    says: ['unknown.jsonl:1: promt: unknown field "promt"', 'did you mean "prompt"?'],
  },
  {
    name: 'a custom_id used twice',
    args: ['twice.jsonl'],
    content: line('a') + line('b') + line('a'),
    says: ['twice.jsonl:3: custom_id: ', '"a" as on line 1'],
  },
  {
    name: 'an empty file',
    args: ['empty.jsonl'],
    content: '',
    says: ['empty.jsonl is empty; expected one JSON object'],
  },
  {
    name: 'a file of blank lines',
    args: ['blank.jsonl'],
    content: '\n \n\t\n',
    says: ['blank.jsonl: expected one JSON object per line, got 3 blank lines'],
  },
  {
    name: 'a binary file',
    args: ['binary.jsonl'],
    content: Buffer.from([0x7f, 0x45, 0x4c, 0x46, 0, 1, 2, 0, 0xff, 0xfe]),
    says: [/binary\.jsonl: expected .*JSONL.*, but it looks like a program/],
  },
  { name: 'a directory', args: ['.'], says: [/^nightshift: \. is a directory; name the file in it/] },
  {
    name: 'a file that is not there',
    args: ['absent.jsonl'],
    says: [/^nightshift: absent\.jsonl: there is no such file; looked for \/.*absent\.jsonl/],
  },
  {
    name: 'a model that nobody offers',
    args: ['model.jsonl'],
    content: line('a', { model: 'fsat' }),
    says: ['nothing was sent', '"fsat"; the nearest names: fast', '--skip-invalid'],
  },
  {
    name: '--out that is a file',
    args: ['good.jsonl', '--out', 'good.jsonl'],
    content: line('a'),
    says: [/good\.jsonl is a file; expected a directory for the results.*--out/],
  },
  {
    name: '--out below a file',
    args: ['good.jsonl', '--out', 'good.jsonl/deep/er'],
    says: [/\/good\.jsonl is a file; expected a directory for the results.*--out/],
  },
  {
    name: 'an input below a file',
    args: ['good.jsonl/in.jsonl'],
    says: [/^nightshift: good\.jsonl\/in\.jsonl: there is no such file: \/.*\/good\.jsonl is a file, not a directory/],
  },
];

describe('one message names the file, the line and the cure, and nothing is sent, for', () => {
  let results: Ended[];
  beforeAll(async () => {
    for (const { args, content } of rows) if (content !== undefined) bench.file(args[0] ?? '', content);
    results = await bench.nightshiftAll(
      rows.map(({ args }) => ({ args: ['run', '--simulate', '--out', 'nothing', ...args] })),
    );
  });

  test.each(rows.map(({ name, says }, index) => ({ name, says, index })))('$name', ({ says, index }) => {
    expectFailure(results[index] as Ended, 2, ...says);
    expect(existsSync(bench.file('nothing/good.output.jsonl'))).toBe(false);
    expect(existsSync(bench.file('nothing'))).toBe(false);
  });
});

describe.skipIf(asNobody === null)('without permission', () => {
  const through = asNobody ?? [];

  test('an input file that may not be read is named, with what allows it: a command where it is the user\u2019s own', async () => {
    const file = bench.file('private.jsonl', line('a'));
    chmodSync(file, 0);
    const closed = bench.file('shut/in.jsonl', line('a'));
    chmodSync(path.dirname(closed), 0);
    chmodSync(bench.dir, 0o777);
    const check = (name: string) => bench.nightshift(['check', name, '--data', '/tmp'], { through });
    const own = expect.stringMatching(/private\.jsonl: no permission to read it; allow it with: chmod u\+r/);
    const foreign = expect.stringMatching(/private\.jsonl: no permission to read it; give this user read access to it/);
    expect(await check('private.jsonl')).toMatchObject({ code: 2, stderr: isRoot ? foreign : own });
    if (isRoot) {
      chownSync(file, 65_534, 65_534);
      expect(await check('private.jsonl')).toMatchObject({ code: 2, stderr: own });
    }
    expectFailure(
      await check('shut/in.jsonl'),
      2,
      /no permission to read it; give this user read access to it and to its/,
    );
    chmodSync(path.dirname(closed), 0o700);
  });

  test('an output directory and a data directory that may not be written are named, before anything is sent', async () => {
    bench.file('public.jsonl', line('a'));
    mkdirSync(bench.file('closed'), { mode: 0o555 });
    mkdirSync(bench.file('open'), { mode: 0o777 });
    chmodSync(bench.file('open'), 0o777);
    const [out, under, data] = await bench.nightshiftAll([
      { args: ['run', 'public.jsonl', '--simulate', '--data', 'open', '--out', 'closed'], call: { through } },
      { args: ['run', 'public.jsonl', '--simulate', '--data', 'open', '--out', 'closed/deep/er'], call: { through } },
      {
        args: ['run', 'public.jsonl', '--simulate', '--data', 'closed/data', '--out', 'open'],
        call: { through, env: { REDIS_URL: '' } },
      },
    ]);
    expectFailure(out as Ended, 5, /results .*directory \/.*closed: EACCES.*choose another with --out/);
    expectFailure(under as Ended, 5, /results .*directory \/.*closed\/deep\/er: EACCES.*choose another with --out/);
    expectFailure(data as Ended, 5, /data directory \/.*closed\/data.*EACCES.*--data/);
    expect(existsSync(bench.file('open/public.output.jsonl'))).toBe(false);
  });
});

test('a directory in a file system that makes none is an error, not an endless wait', async () => {
  bench.file('good.jsonl', line('a'));
  const [out, data] = await bench.nightshiftAll([
    { args: ['run', 'good.jsonl', '--simulate', '--out', '/proc/nightshift/out'] },
    { args: ['run', 'good.jsonl', '--simulate', '--data', '/proc/nightshift'], call: { env: { REDIS_URL: '' } } },
  ]);
  expectFailure(out as Ended, 5, 'the directory /proc/nightshift/out: ', 'choose another with --out');
  expectFailure(data as Ended, 5, 'data directory /proc/nightshift', '--data');
});
