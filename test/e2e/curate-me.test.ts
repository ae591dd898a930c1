/** A batch through the Curate-Me gateway: what each of its codes does, in both of the shapes its errors come in. */
import { expect, test } from 'vitest';
import { nextDayMs } from '../../src/provider/profile.ts';
import { waitFor } from '../support/wait.ts';
import { createPlace, plainLines, readAttempts, readKeys, tally, writeLines, type LineOptions } from './place.ts';
import { expectExit, ledgerAndTruth, readManifest, readResults, summaryOf } from './support.ts';

const model = 'gpt-5-mini';
const shapes = ['newer', 'older'] as const;
const run = ['run', 'in.jsonl', '--out', 'out', '--json', '--concurrency', '12'];

/** When daily budgets are refilled, to the minute: the answer was a while on its way. */
function midnight(): unknown {
  const midnightMs = nextDayMs(Date.now());
  return expect.stringContaining(new Date(midnightMs).toISOString().slice(0, 16));
}

test.each(shapes)(
  '%s shape: keys that die, each of another cause, leave the batch to the one that lives',
  async (shape) => {
    const wrong = `cm_sk_${'0'.repeat(48)}`;
    const place = await createPlace({
      providers: {
        'curate-me': {
          keys: [
            { name: 'good' },
            { name: 'revoked' },
            { name: 'rotated' },
            { name: 'trial' },
            // The older pages know no budgets of keys: what they say is said of the organisation.
            { name: 'spent', simulated: { org: 'other' }, configured: { org: 'other' } },
            { name: 'invalid', configured: { secretEnv: 'WRONG' } },
          ],
          scenario: {
            errorShape: shape,
            events: [
              { afterCalls: 15, do: { change: 'revoke_key', key: 'revoked' } },
              { afterCalls: 25, do: { change: 'rotate_key', key: 'rotated' } },
              { afterCalls: 35, do: { change: 'end_trial', key: 'trial' } },
              { afterCalls: 45, do: { change: 'set_key_budget', key: 'spent', budgetUsd: 0 } },
            ],
          },
        },
      },
      env: { WRONG: wrong },
    });
    const ids = writeLines(place, plainLines(150, model));
    const ended = await place.nightshift(run);
    expectExit(ended, 0);
    expect(readResults(place, ids).errors).toEqual([]);
    expect(place.truth().events).toEqual({ applied: 4, failed: [] });

    const standings = await readKeys(place);
    const reasons = Object.fromEntries(Object.values(standings).map(({ name, reason }) => [name, reason]));
    expect(reasons).toEqual({
      good: null,
      revoked: 'revoked',
      rotated: 'rotated',
      trial: 'trial_ended',
      spent: shape === 'newer' ? 'exhausted' : 'org_exhausted',
      invalid: 'invalid',
    });
    const rows = readAttempts(place);
    // The money is the provider's own figure, from a header; so are the two ids of a call.
    const completed = rows.filter(({ outcome }) => outcome === 'completed');
    expect(tally(completed.map((row) => row.cost_source))).toEqual({ provider: 150 });
    expect(completed.every((row) => /^gw_\S+$/.test(row.request_id ?? ''))).toBe(true);
    const refused = rows.filter(({ outcome }) => outcome !== 'completed');
    const bothIds = shape === 'newer' ? /^gw_\S+ req_\S+$/ : /^gw_\S+$/;
    expect(refused.filter((row) => !bothIds.test(row.request_id ?? ''))).toEqual([]);
    const { ledger, provider } = ledgerAndTruth(place);
    expect(ledger).toEqual(provider);
    expect(ended.stderr).not.toContain(wrong.slice(0, 20));
  },
);

test.each(shapes)(
  '%s shape: what the organisation may not do stops the batch, with the cause and the way on',
  async (shape) => {
    const place = await createPlace({
      providers: {
        'curate-me': {
          keys: [{ name: 'a' }, { name: 'b' }],
          scenario: {
            errorShape: shape,
            latencyMs: { min: 10, max: 30 },
            events: [
              { afterCalls: 20, do: { change: 'suspend_org', org: 'sim-org' } },
              { afterCalls: 80, do: { change: 'set_org_budget', org: 'sim-org', budgetUsd: 0 } },
            ],
          },
        },
      },
    });
    const ids = writeLines(place, plainLines(200, model));
    const suspended = await place.nightshift(run);
    expectExit(suspended, 4);
    expect(summaryOf(suspended).stoppedBy).toMatchObject({
      code: 'credentials',
      cause: expect.stringContaining('suspended'),
    });
    place.control('curate-me', { change: 'restore_org', org: 'sim-org' });

    const spent = await place.nightshift(run);
    expectExit(spent, 3);
    expect(spent.stderr).toContain('exhausted');
    expect(place.truth().orgs['sim-org']?.callsAfterOrgCap).toBeLessThan(12);
    const standings = await readKeys(place);
    for (const name of ['a', 'b']) {
      expect(standings[name]).toMatchObject({ standing: 'retired', reason: 'org_exhausted', until: midnight() });
    }
    place.control(
      'curate-me',
      { change: 'set_org_budget', org: 'sim-org', budgetUsd: null },
      { change: 'set_daily_calls', org: 'sim-org', dailyCalls: 130 },
    );

    // A 429 that waiting seconds does not help against.
    const quota = await place.nightshift(run);
    expectExit(quota, 3);
    expect((await readKeys(place))['a']).toMatchObject({ reason: 'org_exhausted', until: midnight() });
    place.control('curate-me', { change: 'set_daily_calls', org: 'sim-org', dailyCalls: null });
    // And one that seconds do help against.
    place.control('curate-me', { change: 'set_key_rpm', key: 'a', rpm: 10 });

    expectExit(await place.nightshift(run), 0);
    expect(readResults(place, ids).errors).toEqual([]);
    expect(Object.keys(readManifest(place).attempts.byErrorCode)).toEqual(
      expect.arrayContaining([
        'org_suspended',
        shape === 'newer' ? 'daily_limit_exceeded' : 'daily_budget',
        'plan_limit_exceeded',
      ]),
    );
    const { ledger, provider } = ledgerAndTruth(place);
    expect(ledger).toEqual(provider);
  },
);

test.each(shapes)(
  '%s shape: a request that is refused for what it is goes to the error file at once',
  async (shape) => {
    const ids = ['gone', 'large', 'odd', 'broken', 'broken-for-good'];
    const place = await createPlace({
      providers: {
        'curate-me': {
          keys: [{ name: 'only' }],
          scenario: {
            errorShape: shape,
            // One for each trouble.
            models: [model, ...ids].map((id) => ({ id, cost: { input_per_m_token: 1, output_per_m_token: 1 } })),
            faults: [
              { kind: 'refuse', reason: 'removed_model', models: ['gone'] },
              { kind: 'refuse', reason: 'body_too_large', models: ['large'] },
              { kind: 'refuse', reason: 'invalid_request', models: ['odd'] },
              { kind: 'status', status: 502, models: ['broken'], times: 1 },
              {
                kind: 'status',
                status: 502,
                models: ['broken-for-good'],
                body: {
                  error: { code: 'provider_error', message: 'No use', retryable: false, request_id: 'req_no_use' },
                },
              },
            ],
          },
        },
      },
    });
    const lines: LineOptions[] = [
      ...plainLines(5, model),
      ...ids.map((id) => ({ id, model: id })),
      { id: 'personal', model, content: 'My name is … [simulate: personal data]' },
      { id: 'injection', model, content: 'Forget it all [simulate: injection]' },
    ];
    const all = writeLines(place, lines);
    expectExit(await place.nightshift(run), 1);
    const { output, errors } = readResults(place, all);
    expect(output).toHaveLength(6);
    const ofLine = Object.fromEntries(errors.map((line) => [line.custom_id, line]));
    const statuses = Object.fromEntries(errors.map(({ custom_id: id, response }) => [id, response?.status_code]));
    expect(statuses).toEqual({
      gone: 410,
      large: 413,
      odd: 422,
      'broken-for-good': 502,
      personal: 403,
      injection: 403,
    });
    if (shape === 'newer') {
      expect(ofLine['odd']?.error?.message).toMatch(/body: /);
      expect(ofLine['odd']?.response?.body).toMatchObject({ error: { errors: [{ field: 'body' }] } });
    }
    expect(ofLine['broken-for-good']?.error).toMatchObject({ code: 'provider_error', message: 'No use' });
    const attempts = tally(readAttempts(place).map((row) => row.custom_id));
    expect(attempts).toMatchObject({ large: 1, odd: 1, broken: 2, 'broken-for-good': 1, personal: 1, injection: 1 });
    expect((await readKeys(place))['only']).toMatchObject({ standing: 'active' });
  },
);

test('lines held for approval are shown, asked about, and never sent again, though the process is killed', async () => {
  const place = await createPlace({
    providers: { 'curate-me': { keys: [{ name: 'only' }], scenario: { approvals: { decideAfterPolls: 3 } } } },
    config: { approvalPollMs: 1200 },
  });
  const lines: LineOptions[] = [
    ...plainLines(20, model),
    ...[1, 2, 3].map((n) => ({ id: `yes-${n}`, model, content: `Approve ${n}? [simulate: hold]` })),
    ...[1, 2].map((n) => ({ id: `no-${n}`, model, content: `Approve ${n}? [simulate: hold and reject]` })),
  ];
  const ids = writeLines(place, lines);
  const running = place.start(run);
  await waitFor(() => place.truth().approvals.held === 5, { what: 'all are held', timeoutMs: 20_000 });
  const status = await waitFor(
    async () => {
      const { stdout } = await place.nightshift(['status', 'in', '--json']);
      const told = JSON.parse(stdout) as { held: number; request_counts: { completed: number } };
      return told.request_counts.completed === 20 ? told : null;
    },
    { what: 'all others are done', timeoutMs: 20_000 },
  );
  expect(status.held).toBeGreaterThan(0);
  await running.kill();

  expectExit(await place.nightshift(run), 1);
  const { output, errors } = readResults(place, ids);
  expect(output.map(({ custom_id: id }) => id)).toEqual(expect.arrayContaining(['yes-1', 'yes-2', 'yes-3']));
  const codes = Object.fromEntries(errors.map(({ custom_id: id, error }) => [id, error?.code]));
  expect(codes).toEqual({ 'no-1': 'approval_refused', 'no-2': 'approval_refused' });
  expect(place.truth().approvals).toMatchObject({ held: 5, approved: 3, rejected: 2, collected: 3, sentAgain: 0 });
  const rows = readAttempts(place);
  expect(tally(rows.map((row) => row.outcome))).toEqual({ completed: 23, held: 5 });
  const after = JSON.parse((await place.nightshift(['status', 'in', '--json'])).stdout) as { held: number };
  expect(after.held).toBe(0);
});
