import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { asNobody, createBench, expectFailure, line, type Ended } from './command.ts';

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
    says: [/--out \/.*good\.jsonl is a file; expected a directory/],
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

  test('an input file that may not be read is named, with the command that allows it', async () => {
    const file = bench.file('private.jsonl', line('a'));
    chmodSync(file, 0);
    chmodSync(bench.dir, 0o777);
    const ended = await bench.nightshift(['check', 'private.jsonl', '--data', '/tmp'], { through });
    expectFailure(ended, 2, /private\.jsonl: no permission to read it; .*chmod u\+r/);
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
    expectFailure(out as Ended, 5, /directory \/.*closed \(--out\): EACCES.*choose another/);
    expectFailure(under as Ended, 5, /directory \/.*closed\/deep\/er \(--out\): EACCES.*choose another/);
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
  expectFailure(out as Ended, 5, '/proc/nightshift/out (--out)');
  expectFailure(data as Ended, 5, 'data directory /proc/nightshift', '--data');
});
