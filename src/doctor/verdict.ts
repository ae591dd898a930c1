/**
 * An answer's outcome as a finding: what it means for this key, and the cure in the words of the provider's
 * troubleshooting page (providers' status maps: 401 by code, 402 by whose budget, 403, 404, 429, 5xx).
 */
import type { ProviderKind } from '../config.ts';
import type { Answer } from '../provider/answer.ts';
import { classify } from '../provider/classify.ts';
import type { Outcome, RetireReason } from '../provider/outcome.ts';
import { about, type Check, type Finding } from './finding.ts';
import type { Patient } from './key-form.ts';

type Advice = { check: Check; what: string; cure: string };

export function outcomeOf(answer: Answer, patient: Patient, redact: (text: string) => string): Outcome {
  return classify(patient.key.provider.kind, answer, { nowMs: Date.now(), redact });
}

/** `HTTP 402 budget_exceeded: Key budget exhausted`. */
export function evidenceOf(answer: Answer, outcome: Outcome): string {
  const status = answer.tag === 'http' ? `HTTP ${answer.status}` : answer.code;
  if (!('message' in outcome)) return status;
  const code = outcome.code.startsWith('http_') || outcome.code === status ? '' : ` ${outcome.code}`;
  return outcome.message.startsWith('HTTP ') ? outcome.message : `${status}${code}: ${outcome.message}`;
}

/** Of an outcome that is not `complete`. `check`: what was being looked at. */
export function findingOf(check: Check, answer: Answer, outcome: Outcome, patient: Patient): Finding {
  const advice = adviceOn(check, outcome, patient);
  const passes = outcome.tag === 'rate_limited' || outcome.tag === 'too_many_at_once' || outcome.tag === 'snooze';
  const say = about(advice.check, patient.key.name);
  return say[passes ? 'warning' : 'problem'](advice.what, evidenceOf(answer, outcome), advice.cure);
}

function adviceOn(check: Check, outcome: Outcome, patient: Patient): Advice {
  switch (outcome.tag) {
    case 'key_retired':
    case 'org_retired':
      return retired(outcome.reason, outcome.code, patient);
    case 'rate_limited':
      return {
        check: 'limits',
        what: 'its rate limit is reached at this moment',
        cure: 'wait a minute; if no batch is running, other programs use the key: give each its own key, several multiply the throughput',
      };
    case 'too_many_at_once':
      return {
        check: 'limits',
        what: 'too many calls at once are on it',
        cure: 'set maxInFlight of the key to what it allows',
      };
    case 'snooze':
      return {
        check: 'budget',
        what: 'its budget for calls in flight is taken at this moment',
        cure: 'wait until they end',
      };
    case 'model_unavailable':
      return {
        check: 'models',
        what: 'the model is not allowed for this key, or not there',
        cure: 'add the model to the key\u2019s allowed models, or ask for one of GET /v1/models',
      };
    case 'misconfigured':
      return { check: 'base-url', what: 'there is nothing at this URL', cure: 'correct the base URL' };
    case 'held':
      return {
        check,
        what: 'the request is held for a person\u2019s approval',
        cure: 'have it approved or refused at the gateway; do not send it again',
      };
    case 'retry':
      return {
        check,
        what: 'the provider is in trouble, or cannot be reached',
        cure: 'try again after a while (1 s, 2 s, 4 s … 30 s); nightshift does so by itself; if it lasts, see the provider\u2019s status page',
      };
    case 'reject':
    case 'complete':
      return { check, what: 'the request is refused as it is', cure: 'see what the provider says of it' };
    default:
      return outcome satisfies never;
  }
}

function retired(reason: RetireReason, code: string, { key, secretFrom }: Patient): Advice {
  const { kind } = key.provider;
  const place = keyPlaces[kind];
  const again = `then: nightshift keys resume ${key.name}`;
  const replace = `make a new key (${place}), put it into ${secretFrom}, and start nightshift anew`;
  switch (reason) {
    case 'revoked':
      return { check: 'key', what: 'the key is revoked', cure: `${replace}; a revoked key cannot be reinstated` };
    case 'expired':
      return { check: 'key', what: 'the key is expired', cure: `${replace}; an expired key stops at once, no grace` };
    case 'rotated':
      return {
        check: 'key',
        what: 'the key was rotated and its grace period is over',
        cure: `put the new key into ${secretFrom}, and start nightshift anew`,
      };
    case 'trial_ended':
      return { check: 'key', what: 'the trial has ended', cure: `choose a plan at the provider; ${replace}` };
    case 'suspended':
      return {
        check: 'key',
        what: 'the organisation is suspended',
        cure: `settle it with the provider (its owner or billing contact); all its keys wait until then; ${again}`,
      };
    case 'invalid':
      return invalid(code, kind, secretFrom, place);
    case 'exhausted':
      return {
        check: 'budget',
        what: 'the key\u2019s budget is exhausted',
        cure: `raise the key's budget (${place}; empty = unlimited), or use another key; ${again}`,
      };
    case 'org_exhausted':
      return {
        check: 'budget',
        what: 'the organisation\u2019s budget is exhausted',
        cure: `raise the organisation's budget, or wait until it starts anew (${resets[kind]}); ${again}`,
      };
    default:
      return reason satisfies never;
  }
}

const keyPlaces: Record<ProviderKind, string> = {
  privatemind: 'Settings → API Keys',
  'curate-me': 'the gateway\u2019s API keys',
  openai: 'the provider\u2019s API keys',
};

const resets: Record<ProviderKind, string> = {
  privatemind: 'on the 1st of the month, UTC',
  'curate-me': 'at 00:00 UTC',
  openai: 'see the provider\u2019s limits page',
};

function invalid(code: string, kind: ProviderKind, variable: string, place: string): Advice {
  if (code === 'gw_auth_004' || code.includes('ip_')) {
    const cure = 'add this machine\u2019s address to the IP allowlist of the key';
    return { check: 'key', what: 'the key may not be used from this address', cure };
  }
  if (code.includes('scope')) {
    return { check: 'key', what: 'the key lacks a scope', cure: `give it the scope for completions (${place})` };
  }
  if (code.includes('provider_key')) {
    return {
      check: 'key',
      what: 'the upstream provider\u2019s own key is missing',
      cure: 'name its variable in upstreamSecretEnv of the key, or store it on the gateway',
    };
  }
  const form = {
    privatemind: 'the whole token with the colon, <access_key_id>:<secret>',
    'curate-me': 'cm_sk_…, without spaces',
    openai: 'the key alone',
  };
  return {
    check: 'key',
    what: 'the key is not known to the provider',
    cure: `copy it anew from ${place} into ${variable}: ${form[kind]}`,
  };
}
