/** What a request may use at most is set aside before it is sent, and what nobody told the cost of stays so. */
import { expect, test } from 'vitest';
import { createPlace, plainLines, writeLines } from './place.ts';
import { createWorld, expectExit, readResults, summaryOf, writeInput } from './support.ts';

const run = ['run', 'in.jsonl', '--out', 'out', '--json'];
const model = 'many-answers';
/** Ten answers of a thousand tokens: a cent. */
const prices = { [model]: { inputUsdPerMTok: 1, outputUsdPerMTok: 1 } };
const severalAnswers = plainLines(3, model).map((line) => ({ ...line, body: { max_tokens: 1000, n: 10 } }));

function placeOfChoices(tpm: number | null = null) {
  const scenario = { models: [{ id: model, model_type: 'chat' as const }] };
  return createPlace({ providers: { openai: { keys: [{ name: 'a', tpm }], scenario } }, config: { prices } });
}

test('money is set aside for every choice that a request asks for', async () => {
  const place = await placeOfChoices();
  writeLines(place, severalAnswers);
  const stopped = await place.nightshift([...run, '--budget', '0.009']);
  expectExit(stopped, 3);
  expect(place.truth().totals.calls).toBe(0);
  expectExit(await place.nightshift([...run, '--budget', '0.1']), 0);
});

test('tokens are set aside for every choice that a request asks for', async () => {
  const place = await placeOfChoices(9000);
  const ids = writeLines(place, severalAnswers);
  expectExit(await place.nightshift(run), 1);
  expect(readResults(place, ids).errors.map(({ error }) => error?.code)).toEqual(Array(3).fill('request_too_large'));
  expect(place.truth().totals.calls).toBe(0);
});

test('nothing is too large for what its answers are only guessed to come to', async () => {
  const place = await placeOfChoices(40_000);
  const ids = writeLines(
    place,
    plainLines(1, model).map((line) => ({ ...line, body: { max_tokens: undefined, n: 10 } })),
  );
  expectExit(await place.nightshift(run), 0);
  expect(readResults(place, ids).errors).toEqual([]);
});

test('an inline picture takes nothing of a limit on tokens', async () => {
  const place = await createPlace({ providers: { privatemind: { keys: [{ name: 'a', tpm: 200_000 }] } } });
  const url = `data:image/png;base64,${'iVBORw0K'.repeat(75_000)}`;
  const content = [
    { type: 'text', text: 'What is on it?' },
    { type: 'image_url', image_url: { url } },
  ];
  const messages = [{ role: 'user', content }];
  const ids = writeLines(
    place,
    plainLines(3, 'vision').map((line) => ({ ...line, body: { messages } })),
  );
  expectExit(await place.nightshift(run), 0);
  expect(readResults(place, ids).errors).toEqual([]);
});

/** What `nightshift status` says of the only batch. */
type Told = { cost_usd: number | null; possibly_billed: number; unknown_cost_up_to_usd: number };

test('answers that name no usage use up a budget as if they had used all that they might', async () => {
  const choices = [{ index: 0, message: { role: 'assistant', content: 'Yes.' }, finish_reason: 'stop' }];
  const body = { id: 'x', object: 'chat.completion', created: 1, model, choices };
  const world = await createWorld({ scenario: { faults: [{ kind: 'status', status: 200, body }] } });
  writeInput(world, { count: 200 });
  const budgetUsd = 0.002;
  const stopped = await world.nightshift([...run, '--budget', String(budgetUsd)]);
  expectExit(stopped, 3);
  expect(summaryOf(stopped)).toMatchObject({ status: 'paused', costUsd: null, possiblyBilled: 0 });
  const status = await world.nightshift(['status', 'in', '--json']);
  const told = JSON.parse(status.stdout) as Told;
  expect(told).toMatchObject({ cost_usd: null, possibly_billed: 0 });
  expect(told.unknown_cost_up_to_usd).toBeGreaterThan(budgetUsd / 2);
  expect(told.unknown_cost_up_to_usd).toBeLessThanOrEqual(budgetUsd);
  expect((await world.nightshift(['status', 'in'])).stdout).toMatch(/unknown, up to \$0\.00\d+/);
});

test.each([
  { fault: { kind: 'reset' }, what: 'broke off has an unknown cost', mayCost: true },
  { fault: { kind: 'status', status: 500 }, what: 'was refused has none', mayCost: false },
] as const)('a call that $what', async ({ fault, mayCost }) => {
  const world = await createWorld({ scenario: { faults: [{ ...fault, times: 5 }] } });
  const ids = writeInput(world, { count: 20 });
  const ended = await world.nightshift(run);
  expectExit(ended, 0);
  expect(readResults(world, ids).errors).toEqual([]);
  const told = JSON.parse((await world.nightshift(['status', 'in', '--json'])).stdout) as Told;
  const possiblyBilled = mayCost ? 5 : 0;
  expect(summaryOf(ended)).toMatchObject({ possiblyBilled });
  expect(told).toMatchObject({ cost_usd: summaryOf(ended).costUsd, possibly_billed: possiblyBilled });
  expect(told.unknown_cost_up_to_usd > 0).toBe(mayCost);
});

test('a budget that cannot count a model, because nobody knows its price, is warned of before anything is sent', async () => {
  const scenario = { models: [{ id: model, model_type: 'chat' as const }] };
  const place = await createPlace({ providers: { openai: { keys: [{ name: 'a' }], scenario } } });
  writeLines(place, plainLines(3, model));
  const ended = await place.nightshift([...run, '--budget', '0.001']);
  expectExit(ended, 0);
  expect(ended.stderr).toContain(`no budget counts what "${model}" cost`);
  expect(summaryOf(ended)).toMatchObject({ costUsd: null });
  const unbounded = await place.nightshift([...run, '--name', 'again']);
  expectExit(unbounded, 0);
  expect(unbounded.stderr).not.toContain('no budget counts');
});
