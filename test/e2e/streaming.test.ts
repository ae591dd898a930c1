/** Streams on the wire: the files and the ledger are those of whole answers; a stream that breaks is asked for whole. */
import { expect, test } from 'vitest';
import { createPlace, plainLines, readAttempts, tally, writeLines, type Place } from './place.ts';
import { expectExit, ledgerAndTruth, readResults, type ResultLine } from './support.ts';

type Completion = { choices: { message: { content: string }; finish_reason: string }[]; usage: object };

function answersOf(output: ResultLine[]): Record<string, { content?: string; finish?: string; usage: object }> {
  const entries = output.map(({ custom_id: id, response }) => {
    const { choices, usage } = (response as { body: Completion }).body;
    return [id, { content: choices[0]?.message.content, finish: choices[0]?.finish_reason, usage }] as const;
  });
  return Object.fromEntries(entries);
}

async function runTo(place: Place, ids: string[], out: string, more: string[] = []) {
  expectExit(await place.nightshift(['run', 'in.jsonl', '--out', out, '--name', out, '--attempts', '20', ...more]), 0);
  const { output, errors } = readResults(place, ids, out, out);
  expect(errors).toEqual([]);
  return answersOf(output);
}

test.each([
  { provider: 'privatemind', model: 'fast', where: 'on the finish chunk' },
  { provider: 'openai', model: 'gpt-5-mini', where: 'in a chunk of its own' },
])('$provider, usage $where: streamed answers are those of whole ones', async ({ provider, model }) => {
  const prices = { 'gpt-5-mini': { inputUsdPerMTok: 0.25, outputUsdPerMTok: 2 } };
  const place = await createPlace({ providers: { [provider]: {} }, config: { prices } });
  const lines = plainLines(20, model);
  const ids = writeLines(place, lines);
  const whole = await runTo(place, ids, 'whole');
  expect(readAttempts(place).every((row) => row.first_token_ms === null)).toBe(true);

  // Some lines ask for a stream themselves, and want it reported as they like.
  writeLines(
    place,
    lines.map((line, index) => (index % 2 ? line : { ...line, body: { stream: true, stream_options: {} } })),
  );
  const asked = await runTo(place, ids, 'asked');
  expect(asked).toEqual(whole);
  writeLines(place, lines);
  const streamed = await runTo(place, ids, 'streamed', ['--stream']);
  expect(streamed).toEqual(whole);

  const rows = readAttempts(place);
  const withFirst = rows.filter((row) => row.first_token_ms !== null);
  expect(withFirst).toHaveLength(10 + 20);
  expect(tally(rows.map((row) => row.outcome))).toEqual({ completed: 60 });
  const { ledger, provider: truth } = ledgerAndTruth(place);
  expect(ledger).toEqual(truth);
});

test('streams that are cut, stand still, end too soon or fail on the way are asked for whole, and completed', async () => {
  const one = { times: 3, billed: false } as const;
  const place = await createPlace({
    providers: {
      privatemind: {
        scenario: {
          faults: [
            { ...one, kind: 'cut_body', afterChunks: 1 },
            { ...one, kind: 'stall' },
            { ...one, kind: 'open_end' },
            { ...one, kind: 'stream_error', shape: 'object' },
            { ...one, kind: 'stream_error', shape: 'event' },
            { ...one, kind: 'stream_error', shape: 'choice' },
            { ...one, kind: 'stream_error', shape: 'flat' },
            { ...one, kind: 'stream_error', shape: 'text' },
            { ...one, kind: 'stream_error', shape: 'bare' },
          ],
        },
      },
    },
    config: { streamIdleTimeoutMs: 1500 },
  });
  const ids = writeLines(place, plainLines(60));
  const answers = await runTo(place, ids, 'out', ['--stream']);
  const finishes = new Set(Object.values(answers).map(({ finish }) => finish));
  expect([...finishes]).toEqual(['stop']);

  expect(place.truth().faults).toEqual({ cut_body: 3, stall: 3, open_end: 3, stream_error: 18 });
  const rows = readAttempts(place);
  const broken = rows.filter(({ outcome }) => outcome === 'failed');
  expect(broken).toHaveLength(27);
  expect(broken.filter((row) => row.error_code === 'idle')).toHaveLength(3);
  // One broken stream is the only one of its line: the next time its answer comes whole.
  expect(new Set(broken.map((row) => row.custom_id)).size).toBe(27);
  const completed = rows.filter(({ outcome }) => outcome === 'completed');
  expect(completed.filter((row) => row.first_token_ms === null)).toHaveLength(27);
  const { ledger, provider } = ledgerAndTruth(place);
  expect(ledger).toEqual(provider);
});
