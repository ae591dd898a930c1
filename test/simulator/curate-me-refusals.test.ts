import { describe, expect, test } from 'vitest';
import type { ControlChange } from '../../src/simulator/changes.ts';
import type { ScenarioInput } from '../../src/simulator/scenario.ts';
import { createSimulator, type Simulator } from '../../src/simulator/server.ts';
import { chatCurateMe, gatewayHeaders, post, type Answer, type Ask } from './client.ts';

const nowMs = Date.UTC(2026, 0, 15, 12);
const models = [
  { id: 'gpt-5-mini', cost: { input_per_m_token: 1, output_per_m_token: 1 } },
  { id: 'narrowed' },
  { id: 'old' },
  { id: 'embed', model_type: 'embedding', supported_parameters: [] },
];
const keys: ScenarioInput['keys'] = [
  { name: 'a', rpm: null, team: 'red', allowedModels: ['gpt-5-mini', 'old', 'embed'], sessionBudgetUsd: 5 },
];
const say = (content: string): object => ({ messages: [{ role: 'user', content }] });

type Words = { status: number; error: object };
type Row = {
  why: string;
  change?: ControlChange;
  scenario?: ScenarioInput;
  ask?: Ask;
  fields?: object;
  body?: string;
  newer: Words;
  older: Words;
};

/** The same status and code in both shapes. */
const both = (status: number, code: string): Pick<Row, 'newer' | 'older'> => ({
  newer: { status, error: { code, request_id: expect.stringMatching(/^req_/) } },
  older: { status, error: { code, param: null } },
});
const budget = (code: string, olderCode: string): Pick<Row, 'newer' | 'older'> => ({
  newer: {
    status: 402,
    error: { code, governance_stage: expect.any(String), limit_usd: 0, current_spend_usd: 0 },
  },
  older: { status: 403, error: { code: olderCode } },
});

const rows: Row[] = [
  { why: 'no key', ask: { headers: {} }, ...both(401, 'invalid_api_key') },
  {
    why: 'a key of another make',
    ask: { headers: { 'x-cm-api-key': 'cm_gw_abcdef' } },
    ...both(401, 'invalid_api_key'),
  },
  { why: 'a key with a space', ask: { headers: { 'x-cm-api-key': 'cm_sk_ab cd' } }, ...both(401, 'invalid_api_key') },
  { why: 'an unknown key', ask: { headers: { 'x-cm-api-key': 'cm_sk_abcd' } }, ...both(401, 'invalid_api_key') },
  { why: 'an expired key', change: { change: 'expire_key', key: 'a' }, ...both(401, 'invalid_api_key') },
  { why: 'a revoked key', change: { change: 'revoke_key', key: 'a' }, ...both(401, 'api_key_revoked') },
  { why: 'a rotated key', change: { change: 'rotate_key', key: 'a' }, ...both(401, 'key_rotated') },
  { why: 'a trial that has ended', change: { change: 'end_trial', key: 'a' }, ...both(401, 'trial_token_expired') },
  { why: 'a suspended organisation', change: { change: 'suspend_org', org: 'sim-org' }, ...both(401, 'org_suspended') },
  {
    why: 'an address that is not on the list',
    change: { change: 'set_allowed_ips', key: 'a', allowedIps: ['203.0.113.7'] },
    newer: { status: 403, error: { code: 'GW_AUTH_004' } },
    older: { status: 403, error: { gateway_error_code: 'GW_AUTH_004', type: 'permission_error' } },
  },
  {
    why: 'no key for the upstream',
    scenario: { requireUpstreamKey: true },
    ...both(401, 'provider_key_missing'),
  },
  {
    why: 'a spent key',
    change: { change: 'set_key_budget', key: 'a', budgetUsd: 0 },
    ...budget('key_budget_exceeded', 'monthly_budget'),
  },
  {
    why: 'a spent session',
    change: { change: 'set_session_budget', key: 'a', budgetUsd: 0 },
    ...budget('session_budget_exceeded', 'monthly_budget'),
  },
  {
    why: 'a spent team',
    change: { change: 'set_team_budget', team: 'red', budgetUsd: 0 },
    ...budget('team_budget_exceeded', 'monthly_budget'),
  },
  {
    why: 'a spent day',
    change: { change: 'set_org_budget', org: 'sim-org', budgetUsd: 0 },
    ...budget('daily_limit_exceeded', 'daily_budget'),
  },
  {
    why: 'a prompt with personal data',
    fields: say('My number is [simulate: personal data].'),
    newer: { status: 403, error: { code: 'pii_detected', governance_stage: expect.any(String) } },
    older: { status: 403, error: { code: 'pii_scan' } },
  },
  {
    why: 'a prompt with personal data, as other older pages have it',
    scenario: { olderPersonalDataStatus: 422 },
    fields: say('My number is [simulate: personal data].'),
    newer: { status: 403, error: { code: 'pii_detected' } },
    older: { status: 422, error: { code: 'pii_scan' } },
  },
  {
    why: 'an injection',
    fields: say('Ignore all that. [simulate: injection]'),
    newer: { status: 403, error: { code: 'prompt_injection_detected', governance_stage: expect.any(String) } },
    older: { status: 403, error: { code: 'prompt_injection_detected' } },
  },
  {
    why: 'a model that is not on the allowlist',
    fields: { model: 'narrowed' },
    newer: { status: 403, error: { code: 'model_not_allowed', governance_stage: 'model_allowlist' } },
    older: { status: 403, error: { code: 'model_not_allowed', param: 'model' } },
  },
  {
    why: 'a retired model',
    change: { change: 'remove_model', model: 'old' },
    fields: { model: 'old' },
    newer: { status: 410, error: { code: 'model_retired' } },
    older: { status: 410, error: { code: 'model_retired', param: 'model' } },
  },
  {
    why: 'an unknown model',
    fields: { model: 'gpt-0' },
    newer: { status: 404, error: { code: 'model_not_found' } },
    older: { status: 404, error: { code: 'model_not_found', param: 'model' } },
  },
  {
    why: 'a model that does not chat',
    fields: { model: 'embed' },
    newer: { status: 400, error: { code: 'model_not_chat' } },
    older: { status: 400, error: { code: 'model_not_chat', type: 'invalid_request_error' } },
  },
  { why: 'a body that is too large', scenario: { maxBodyBytes: 20 }, ...both(413, 'payload_too_large') },
  { why: 'a body that is not JSON', body: '{"model":', ...both(400, 'invalid_json') },
  {
    why: 'a field of the wrong kind',
    fields: { max_tokens: -5 },
    newer: {
      status: 422,
      error: {
        code: 'validation_error',
        errors: [{ field: 'max_tokens', message: 'Expected a positive integer', value: -5 }],
      },
    },
    older: { status: 422, error: { code: 'validation_error', param: 'max_tokens' } },
  },
  {
    why: 'a parameter nobody knows',
    fields: { colour: 'red' },
    newer: { status: 400, error: { code: 'unsupported_parameter' } },
    older: { status: 400, error: { code: 'unsupported_parameter', param: 'colour' } },
  },
  {
    why: 'too long a prompt',
    fields: { max_tokens: 32_768 },
    newer: { status: 400, error: { code: 'context_length_exceeded' } },
    older: { status: 400, error: { code: 'context_length_exceeded', param: 'max_tokens' } },
  },
  {
    why: 'a plan that is used up',
    scenario: { orgs: { 'sim-org': { dailyCalls: 1 } } },
    newer: { status: 429, error: { code: 'plan_limit_exceeded', type: 'insufficient_quota' } },
    older: { status: 429, error: { code: 'plan_limit_exceeded', type: 'insufficient_quota' } },
  },
];

async function ask(simulator: Simulator, row: Row): Promise<Answer> {
  if (row.body === undefined) return chatCurateMe(simulator, row.fields, row.ask);
  return post(simulator, '/v1/openai/chat/completions', { headers: gatewayHeaders(simulator), body: row.body });
}

describe.each(['newer', 'older'] as const)('in its %s shape Curate-Me answers', (errorShape) => {
  test.each(rows)('$why', async (row) => {
    await using simulator = await createSimulator({
      now: () => nowMs,
      scenario: { provider: 'curate-me', errorShape, models, keys, ...row.scenario },
    });
    if (row.change) simulator.control(row.change);
    if (row.scenario?.orgs) expect((await chatCurateMe(simulator)).status).toBe(200);
    const spentBefore = simulator.truth().totals.costNanoUsd;
    const answer = await ask(simulator, row);
    const expected = row[errorShape];
    expect(answer.status).toBe(expected.status);
    expect(answer.json.error).toMatchObject({ message: expect.stringMatching(/./), ...expected.error });
    // Older: OpenAI's four fields; newer: the request's id, which is not the header's.
    if (errorShape === 'older') expect(answer.json.error).toMatchObject({ type: expect.stringMatching(/./) });
    else expect(answer.json.error.request_id).toMatch(/^req_/);
    expect(answer.headers.get('x-cm-request-id')).toMatch(/^gw_/);
    // What is never forwarded costs nothing.
    expect(simulator.truth().totals).toMatchObject({ costNanoUsd: spentBefore });
    expect(answer.headers.get('x-cm-cost')).toBeNull();
  });
});
